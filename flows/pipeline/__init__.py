"""A run's own machinery: its context, the keys that results hang on, which step runs and which is reused, its MLflow run.

Public: `context.RunContext`, `binding.step`, `runner.StepRunner`, `keys.make_key`, `reuse.find_unchanged`, `tracking.tracked`.
"""
