"""Bodies to rows and outputs to bodies: MLflow's scoring protocol, and the Open Inference Protocol v2 in JSON and binary.

Public: `mlflow_scoring.Invocations` and `mlflow_scoring.predictions`, `open_inference.Inference`.
"""
