"""What the server's processes tell each other, of one model."""

from pathlib import Path

from infra.serving.ipc.messages import Refusal, Release, Revert, Swap


def release(version: str, **more: object) -> Release:
    return Release(
        model="digits",
        version=version,
        digest=version * 64,
        folder=Path("/cache"),
        evidence="verified",
        **more,  # type: ignore[arg-type]
    )


def swap(version: str, **more: object) -> Swap:
    return Swap(model="digits", version=version, digest=version * 64, seconds=0.1, at=1.0, **more)  # type: ignore[arg-type]


def refusal(version: str, **more: object) -> Refusal:
    return Refusal(model="digits", version=version, reason="no", at=2.0, **more)  # type: ignore[arg-type]


def revert(version: str, back_to: str) -> Revert:
    return Revert(model="digits", version=version, digest=version * 64, back_to=back_to, reason="bad", at=3.0)
