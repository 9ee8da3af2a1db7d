"""What is asked in production, held against what the champion learned from: is it still the same world? And the past, replayed.

Public: `monitor.monitor`, `monitor.new_rows`, `drift.drift`, `backfill.Replay`.
"""
