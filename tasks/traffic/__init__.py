"""What servers recorded and what came back of it: requests with their answers, pairs of answers that differ, and labels.

Public: `requests.read_traffic`, `pairs.labelled` (what labels say of a rollout), `labels` (light: the server writes them too),
`score.score` and `label_queue.wanted`.
"""
