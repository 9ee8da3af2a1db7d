"""MLflow's webhook: believed only with its signature, and then no more than a reason to look at the registry now."""

import base64
import hashlib
import hmac
import time

from infra.serving.http.service import Headers
from infra.serving.wire.problems import Problem

TOLERANCE = 300


def check(secret: str, headers: Headers, body: bytes) -> None:
    """Problem 401 unless the HMAC over delivery, time and body is right and recent (mlflow.webhooks.delivery)."""
    delivery, moment = headers.get(b"x-mlflow-delivery-id", b""), headers.get(b"x-mlflow-timestamp", b"")
    signed = hmac.new(secret.encode(), b".".join((delivery, moment, body)), hashlib.sha256).digest()
    wanted = b"v1," + base64.b64encode(signed)
    recent = moment.isdigit() and len(moment) < 12 and abs(time.time() - int(moment)) < TOLERANCE
    if not hmac.compare_digest(wanted, headers.get(b"x-mlflow-signature", b"")) or not recent:
        raise Problem(401, "bad_signature", "the webhook's signature or time is wrong")
