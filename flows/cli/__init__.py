"""The `slipway` command: reads arguments, calls what does the work, and hands the result to views/.

Public: `__main__.main`, `app.app`, `overrides.configure` (what `--set` makes of a run), `run.run_here`.
"""
