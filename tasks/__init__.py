"""What each step does: plain typed functions, records in, records out."""
