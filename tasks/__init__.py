"""What each step does, as plain typed functions: records in, records out; no Prefect. A room a folder, in the order of the data."""
