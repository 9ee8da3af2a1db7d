"""From a proof to a version to the champion, and back: what is registered, who decided, and whether it still holds.

Public: `register`, `apply_verdict`; `promote_version`, `decline_version`, `roll_back_to`; `verify`, `history`, `read_ledger`.
"""
