"""Versions in memory and how rows reach them: loading, batching, the version before kept ready, and who looks on.

Public: `version.load_version` and `version.LoadedVersion`, `slot.Slot`, `execution.Request`, `execution.run`,
`pairs.Pairs`, `lanes.Lane`, `recording.Recorder`.
"""
