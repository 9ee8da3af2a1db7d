"""Tags of runs and versions that more than one room reads."""

EVIDENCE_TAG = "slipway.evidence"

VERDICT_TAG = "slipway.verdict"

KEY_TAG = "slipway.key"

DATA_TAG = "slipway.data"

NEWEST_TAG = "slipway.newest"

DECISION_TAG = "slipway.decision"
