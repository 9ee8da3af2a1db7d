"""Checkpoint → OnnxModel: one file that agrees with torch at every size, the session that runs it, its MLflow folder.

Public: `export` and `export_module`, `open_session`, `run_rows` and `run_named`, `build_folder`.
"""
