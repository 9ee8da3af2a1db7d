"""Rows → Dataset: a workload's rows loaded, checked against their schema, split, and stored as arrays that any step maps.

Public: `prepare` and `data_fingerprint`, `read_split` and `read_frame`, `to_inputs`.
"""
