"""Candidate → Proof: measured, compared, judged, tried in the real server, bound to its bytes and signed.

Public: `validate`, `select`, `prove`, `gate`, `cross_validate`; `make_evidence`, `seal` and `verify`.
"""
