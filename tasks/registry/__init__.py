"""MLflow, and nothing else speaks to it: versions, aliases, tags, files, and the runs of trainings and of the ledger.

Public: `Registry`, and below it `connect`, `download_version`, `check_mlflow`; `find_version`.
"""
