"""Dataset → Checkpoint: a loop that stops and goes on to the bit, alone, in several processes, or on a Ray cluster.

Public: `train` and `fit`, `build_module` and `load_module`, `predict_goals`, `dry_run`.
"""
