"""From what an alias names in the registry to the version that answers: fetched, inspected, verified, put in place, taken back.

Public: `follower.follow`, `preparation.Preparer`, `inspection.inspect`, `loading.Loader`, `alias_state.AliasState`.
"""
