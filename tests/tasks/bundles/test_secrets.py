"""Secrets are known by their shape and never shown."""

import pytest
from checkout import ROOT

from tasks.bundles.secrets import secret_in
from tasks.workloads.places import names

A = "a1B2" * 30


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("-----BEGIN RSA " + "PRIVATE KEY-----", "a private key"),
        ("-----BEGIN " + "PRIVATE KEY-----", "a private key"),
        ("-----BEGIN OPENSSH " + "PRIVATE KEY-----", "a private key"),
        ("KEY = 'AKIA" + "ABCDEFGHIJKLMNOP'", "an AWS access key"),
        ('"private_key_id": "' + "0a" * 20 + '"', "a key of a Google service account"),
        ("AIza" + A[:35], "a Google API key"),
        ("AccountKey=" + A[:86] + "==;", "an Azure storage key"),
        ("https://x.blob.core.windows.net/c?sv=1&sig=" + A[:43] + "%3D", "an Azure shared access signature"),
        ("ghp_" + A[:36], "a GitHub token"),
        ("github_pat_" + A[:70], "a GitHub token"),
        ("xoxb-" + "1234567890-abcdef", "a Slack token"),
        ("hf_" + A[:34], "a Hugging Face token"),
        ("postgresql://ann:hunter2" + "@host/shop", "an address with a password"),
        ("password = 'hunter" + "22'", "a password in a literal"),
        ('API_KEY: "s3cr' + '3tv4lue"', "a password in a literal"),
        ("db_password='corr" + "ect-horse'", "a password in a literal"),
    ],
)
def test_what_looks_like_a_secret_is_named_by_its_kind_and_line(text: str, kind: str) -> None:
    assert secret_in("code/mine.py", f"x = 1\n{text}\n".encode()) == f"{kind} (line 2)"


@pytest.mark.parametrize(
    "name", [".env", "code/prod.env", ".env.local", "id_rsa", "deploy/server.pem", ".netrc"]
)
def test_files_that_are_there_for_secrets_are_none_whatever_they_hold(name: str) -> None:
    assert secret_in(name, b"") == "what files of that name are for"


@pytest.mark.parametrize(
    "text",
    [
        "password = os.environ['DB_PASSWORD']",
        "password = ''",
        "password = '********'",
        "PASSWORD = 'DB_PASSWORD'",
        "token = tokenizer('some words')",
        "tokens = ['abcdefgh']",
        "url = f'postgresql://{user}:{password}@host/shop'",
        "url = 'postgresql://user:$PASSWORD@host/shop'",
        "url = 's3://bucket/key'",
        "url = 'https://host:8080/path@2'",
        "api_key = 'your-api-key-here'",
        "hashlib.sha256(b'" + "0a" * 32 + "')",
        "parquet('s3://bucket/rows', endpoint_url='http://127.0.0.1:9000')",
    ],
)
def test_what_only_speaks_of_secrets_is_none(text: str) -> None:
    assert secret_in("code/mine.py", text.encode()) is None


def test_none_of_slipways_own_workloads_looks_like_one() -> None:
    for name in names():
        path = ROOT / "tasks" / "workloads" / "examples" / f"{name}.py"
        assert secret_in(path.name, path.read_bytes()) is None
