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

MOVED_BY_TAG = "slipway.moved_by"
"""Of a model: whose account moved the alias champion last, and to which version, as MLflow's front saw it; JSON."""

WAITS_TAG = "slipway.waits"
"""Of a version whose gate passed while another was being rolled out: `rollout`, until that has ended."""

ORIGIN_TAG = "slipway.origin"
"""Of a run and its version that were copied here: the SHA-256 of the evidence, by which a copy that was killed is found again."""

REVERTED_TAG = "slipway.reverted"
"""What a server found wanting in it, when it went back to the version before."""

PARENT_TAG = "mlflow.parentRunId"
"""MLflow's own: of a run that its pages show below another."""

SEARCH_TAG = "slipway.search"
"""Which search a training belongs to; of a run that made a version, the one that it chose by."""

TRAINING_TAG = "slipway.training"
"""A training of a search: the search and its number in it, by which one that was killed is found again."""
