"""Bundles: a workload's code as one folder, named by the digest of all that is in it and signed, which any worker fetches and checks before it runs.

Public: `Bundle` and `changes`; `pack`; `bundle_of`, `locate` and `keep`; `Checkout`; `pinned` and `environment` for requirements.
Which files a workload consists of is for tasks/workloads to say, whose `publish` makes a bundle of them.
"""
