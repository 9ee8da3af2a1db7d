"""Bundles: a workload's code as one folder, named by the digest of all that is in it and signed, which any worker fetches and checks before it runs.

Public: `Bundle`, `Origin` and `changes`; `pack`; `bundle_of`, `locate`, `keep` and `share`; `cloned` and `state_of` for git; `pinned` and `use` for requirements.
Which files a workload consists of is for tasks/workloads to say, whose `publish` makes a bundle of them.
"""
