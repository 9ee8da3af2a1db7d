"""What the server says of itself: counts over all workers, recent events, and both as Prometheus and /health read them.

Public: `board.Board`, `metrics.Metrics`, `exposition.exposition`.
"""
