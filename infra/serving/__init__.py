"""The model server: follows registry aliases, serves only what was proved, close to what ONNX Runtime alone can do.

Public: `python -m infra.serving`, or `processes.main.serve` with `options.ServeOptions`. Rooms, each standing on those
before it: wire, codecs and ipc, models, lifecycle and telemetry, http, processes.
"""
