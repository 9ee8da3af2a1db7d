-- Prefect's database is made by the image (POSTGRES_DB); these are MLflow's: its own, and its accounts.
CREATE DATABASE mlflow;
CREATE DATABASE mlflow_auth;
