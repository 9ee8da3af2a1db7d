"""What looks like a secret: it has no place in what is copied to every worker. Kinds are named, values never shown."""

import re
from pathlib import PurePosixPath

_NAMES = re.compile(
    r"(\.env(\..+)?|.+\.env|id_(rsa|dsa|ecdsa|ed25519)|\.netrc|\.pgpass|\.npmrc|\.pypirc|credentials(\.json)?|.+\.(pem|key|p12|pfx|jks|keystore))",
    re.I,
)
"""Files that exist to hold one."""

_KINDS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("a private key", r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"),
        ("an AWS access key", r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b"),
        ("a key of a Google service account", r"\"private_key_id\"\s*:\s*\"[0-9a-f]{40}\""),
        ("a Google API key", r"\bAIza[0-9A-Za-z_-]{35}(?![0-9A-Za-z_-])"),
        ("an Azure storage key", r"AccountKey=[A-Za-z0-9+/]{86}=="),
        ("an Azure shared access signature", r"[?&]sig=[A-Za-z0-9%+/]{43,}"),
        ("a GitHub token", r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,})"),
        ("a GitLab token", r"\bglpat-[A-Za-z0-9_-]{20,}"),
        (
            "a Slack token",
            r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}|hooks\.slack\.com/services/T[A-Z0-9]+/B[A-Z0-9]+/[A-Za-z0-9]{20,}",
        ),
        ("a Hugging Face token", r"\bhf_[A-Za-z0-9]{34,}\b"),
        ("an API key of a model provider", r"\bsk-(?:proj-|ant-|live-)?[A-Za-z0-9_-]{32,}"),
        ("a package index's token", r"\b(?:pypi-AgE[A-Za-z0-9_-]{50,}|npm_[A-Za-z0-9]{36})"),
        ("a Stripe key", r"\b[rs]k_live_[A-Za-z0-9]{20,}"),
        (
            "an address with a password",
            r"\b[a-zA-Z][a-zA-Z0-9+.-]*://[^\s/:@'\"{}<>$]*:(?P<value>[^\s/@'\"{}<>$]+)@[^\s'\"]",
        ),
        (
            "a password in a literal",
            r"(?i)(?<![a-z])(?:password|passwd|pwd|secret|api_?key|access_?key|secret_?key|(?:auth|access|api)_?token)['\"]?\s*[:=]\s*(?P<quote>['\"])(?P<value>[^'\"\s]{6,})(?P=quote)",
        ),
    )
)

_NO_VALUE = re.compile(
    r"(?i)[*x.•<>_-]+|.*(example|placeholder|changeme|dummy|your[-_]|<.+>|\$\{?\w|\{\w*\}).*|password|passwd|secret|[A-Z][A-Z0-9]*(_[A-Z0-9]+)+"
)
"""What stands where a secret would: a name of a variable, dots, a word that says so."""


def secret_in(name: str, content: bytes) -> str | None:
    """What kind of secret a file seems to hold, and on which line: "an AWS access key (line 3)"; None for none."""
    if _NAMES.fullmatch(PurePosixPath(name).name):
        return "what files of that name are for"
    text = content.decode("utf-8", "replace")
    for kind, pattern in _KINDS:
        for match in pattern.finditer(text):
            value = match.groupdict().get("value")
            if value is None or not _NO_VALUE.fullmatch(value):
                return f"{kind} (line {text.count(chr(10), 0, match.start()) + 1})"
    return None
