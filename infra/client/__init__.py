"""`import slipway`: a model asked from Python, of the running server or loaded here, by whoever does not want to know the protocol.

Public: `asking.predict`, `loading.load`, `loading.Model`; `slipway/` is what is installed under that name.
"""
