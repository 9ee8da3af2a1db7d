"""Three lines in a notebook: `slipway.predict("digits", frame)` asks the running server, `slipway.load("digits@champion")` needs none.

Whatever goes wrong and can be mended is a `slipway.UserError` of one sentence.
"""

from infra.client.asking import predict
from infra.client.loading import Model, load
from tasks.errors import UserError

__all__ = ["Model", "UserError", "load", "predict"]
