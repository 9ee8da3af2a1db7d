"""The proof in production: what may be claimed of two versions that answered the same requests, and what follows from it.

Public: `RolloutPolicy` (mlflow.yaml's `rollout:`), `Counts` and `LabelCounts`, `RolloutRecord` (what servers obey), `decide`, `RolloutEvidence` (what the ledger keeps).
Pure, and light enough for the model server; what writes to the registry stands in tasks/promotion.
"""
