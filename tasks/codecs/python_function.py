"""MLflow's python_function flavor of a model with codecs: what is asked goes through its codec, and comes back by name.

It travels in a model's folder beside the codec, as code/slipway_codec, under which name it then imports it.
"""

from pathlib import Path
from typing import Any

import numpy as np

from tasks.codecs import decoding


class Asked:
    """A model that takes a request's own values: text, pictures in base64, words, and tensors beside them."""

    def __init__(self, folder: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # as the server: the same sums in the same order
        self.session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        bound = self.session.get_modelmeta().custom_metadata_map
        self.decoder = decoding.open_decoder(folder, bound.get(decoding.METADATA, ""))

    def predict(self, model_input: Any, params: Any = None) -> dict[str, Any]:
        """The outputs by name, for a DataFrame or a dict of arrays or lists. Raises ValueError for values that are not taken."""
        given = {str(name): model_input[name] for name in model_input}
        values = {name: np.asarray(given[name], object).reshape(-1).tolist() for name in self.decoder.readers}
        try:
            feed = self.decoder.read(self.decoder.take(values))
        except decoding.Unreadable as error:
            raise ValueError(str(error)) from None
        for node in self.session.get_inputs():
            if node.name not in feed:
                kind = node.type.removeprefix("tensor(").removesuffix(")")
                rows = np.array([np.asarray(row) for row in given[node.name]])
                feed[node.name] = rows.astype("float32" if kind == "float" else kind, copy=False)
        names = [node.name for node in self.session.get_outputs()]
        return dict(zip(names, self.session.run(None, feed), strict=True))


def _load_pyfunc(path: str) -> Asked:
    """What MLflow calls."""
    return Asked(Path(path))
