"""`slipway check`: a workload looked over in seconds, part by part, before anything is trained.

Public: `check`.
"""
