"""The model server: follows registry aliases, serves only what was proved, close to what ONNX Runtime alone can do."""
