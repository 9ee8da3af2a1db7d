"""`slipway up`: the servers of Prefect and MLflow, a worker and the model server as processes of this machine, kept running.

Public: `local.platform`, `local.stay`, `status.platform_status`, `services.RunningService`, `prefect.client_environment`.
"""
