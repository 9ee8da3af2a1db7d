"""How a value of a request becomes tensors, declared in a workload and run by one module wherever it is asked.

Public: `Text`, `Image` and `Codes`, `decoding.Decoder` and `decoding.open_decoder`. The server imports this: no torch, no pandas.
"""

from tasks.codecs.declared import Codec, Coded, Codes, Image, Plain, Reading, Text

__all__ = ["Codec", "Coded", "Codes", "Image", "Plain", "Reading", "Text"]
