"""Tags of runs and versions that more than one room reads."""

EVIDENCE_TAG = "slipway.evidence"

STATEMENTS_TAG = "slipway.attestations"
"""SHA-256 of a version's attestations.jsonl; one that was made before there were statements has none."""

VERDICT_TAG = "slipway.verdict"

SCORE_TAG = "slipway.score_name"
"""What the score of its proof is called."""

PICKED_TAG = "slipway.picked"

KEY_TAG = "slipway.key"

DATA_TAG = "slipway.data"

BUNDLE_TAG = "slipway.bundle"
"""The digest of the bundle that a version's workload came in; `Origin.tags` writes it."""

NEWEST_TAG = "slipway.newest"

DECISION_TAG = "slipway.decision"

POLICY_TAG = "slipway.gates"
"""SHA-256 of the gates that a version was judged by; one registered before there were permits has none."""

MOVE_TAG = "slipway.move"
"""Why a move of the alias by hand to this version was refused."""

WAITS_TAG = "slipway.waits"
"""Of a version whose gate passed while another was being rolled out: `rollout`, until that has ended."""

ORIGIN_TAG = "slipway.origin"
"""Of a run and its version that were copied here: the SHA-256 of the evidence, by which a copy that was killed is found again."""

REVERTED_TAG = "slipway.reverted"
"""What a server found wanting in it, when it went back to the version before."""
