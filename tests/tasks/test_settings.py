from pathlib import Path

import pytest

from tasks.config import Gates, RunConfig
from tasks.errors import UserError
from tasks.settings import ANYONE, load_settings


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_a_file_here_slipways_own_holds(home: Path) -> None:
    settings = load_settings()
    assert settings.home == home and home.stat().st_mode & 0o077 == 0
    assert settings.tracking_uri == f"sqlite:///{home / 'mlflow.db'}" and settings.embedded


def test_the_environment_wins_over_the_file(somewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (somewhere / "mlflow.yaml").write_text("tracking_uri: http://127.0.0.1:1")
    assert load_settings().tracking_uri == "http://127.0.0.1:1"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:2")
    assert load_settings().tracking_uri == "http://127.0.0.1:2" and not load_settings().embedded


def test_a_file_that_explains_the_aliases_as_older_ones_did_still_holds(somewhere: Path) -> None:
    (somewhere / "mlflow.yaml").write_text(
        "aliases: {champion: the version that serves}\nmodels: {digits: {approval: manual}}"
    )
    assert load_settings().policy("digits").approval == "manual"


def test_whose_workloads_run_is_a_list_of_keys_or_a_sentence(somewhere: Path) -> None:
    assert load_settings().runs == ANYONE
    (somewhere / "mlflow.yaml").write_text("runs: [keys/ann.pem, /etc/slipway/bob.pem]")
    assert load_settings().runs == (somewhere / "keys" / "ann.pem", Path("/etc/slipway/bob.pem"))
    for nobody in ("everybody", "[]", "[3]", "null"):
        (somewhere / "mlflow.yaml").write_text(f"runs: {nobody}")
        with pytest.raises(
            UserError, match=r"mlflow\.yaml: runs: .* says not whose: write `anyone on this machine`"
        ):
            load_settings()


def test_production_overrides_a_workloads_gates_and_others_keep_theirs(somewhere: Path) -> None:
    (somewhere / "mlflow.yaml").write_text("models: {digits: {approval: manual, gates: {min_score: 0.99}}}")
    settings = load_settings()
    run = RunConfig(gates=Gates(min_score=0.5, margin=0.02))
    assert settings.apply_policy("digits", run).gates == Gates(min_score=0.99, margin=0.02)
    assert settings.apply_policy("other", run) == run
    assert settings.policy("digits").approval == "manual" and settings.policy("other").approval == "auto"


def test_a_rollout_is_a_few_words_and_has_no_default(somewhere: Path) -> None:
    (somewhere / "mlflow.yaml").write_text(
        "models: {digits: {rollout: {steps: [shadow, 5%], horizon: 2d, margin: {score: null}}}, other: {}}"
    )
    settings = load_settings()
    rollout = settings.policy("digits").rollout
    assert rollout is not None and rollout.steps == (0, 0.05) and rollout.horizon.days == 2
    assert settings.policy("other").rollout is None
    assert not settings.policy("digits").permits_by_gate and settings.policy("other").permits_by_gate


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("models: [", "is not valid YAML"),
        ("- a", "must be a mapping"),
        ("modles: {}", "modles: Extra inputs are not permitted"),
        ("models: {digits: {approval: perhaps}}", "models.digits.approval"),
        ("models: {digits: {rollout: {steps: [10%, 1%]}}}", "steps: steps have to rise, such as"),
        ("models: {digits: {rollout: {horizon: 3}}}", "horizon: 3 is no length of time: write 90s"),
        ("home: /elsewhere", "sets home: that is SLIPWAY_HOME's"),
        ("1: 2", "Keys should be strings"),
        ("store: 2026-02-30", "is not valid YAML"),
        ("store: \udcff", "is not valid YAML"),
    ],
)
def test_a_wrong_file_is_a_sentence(somewhere: Path, content: str, message: str) -> None:
    (somewhere / "mlflow.yaml").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match="mlflow.yaml") as caught:
        load_settings()
    assert message in str(caught.value)


def test_an_unknown_gate_is_named(somewhere: Path) -> None:
    (somewhere / "mlflow.yaml").write_text("models: {digits: {gates: {min_scoer: 0.9}}}")
    with pytest.raises(UserError, match="models.digits.gates: min_scoer"):
        load_settings().apply_policy("digits", RunConfig())


def test_a_home_that_cannot_be_written_is_named(somewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (somewhere / "file").touch()
    monkeypatch.setenv("SLIPWAY_HOME", str(somewhere / "file" / "home"))
    with pytest.raises(UserError, match="SLIPWAY_HOME=.*cannot be written"):
        load_settings()


def test_a_registry_is_named_without_a_password(somewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().registry == f"of {load_settings().home} (SLIPWAY_HOME)"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ada:secret@mlflow.internal:5000")
    assert load_settings().registry == "at http://mlflow.internal:5000"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ada:sec@ret@mlflow.internal:5000")
    assert load_settings().registry == "at http://mlflow.internal:5000"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////elsewhere/mlflow.db")
    assert load_settings().registry == "at sqlite:////elsewhere/mlflow.db", "and not of this home"


def test_a_home_that_no_database_address_can_name_is_refused(
    somewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite would take what is before the question mark for the file: MLflow's and Prefect's would be one."""
    monkeypatch.setenv("SLIPWAY_HOME", str(somewhere / "what?"))
    with pytest.raises(UserError, match=r"has a '\?', where a database's address ends"):
        load_settings()


def test_the_file_of_settings_may_be_named(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = tmp_path / "other.yaml"
    named.write_text("models: {dots: {approval: manual}}")
    monkeypatch.setenv("SLIPWAY_SETTINGS", str(named))
    assert load_settings().policy("dots").approval == "manual"
    named.unlink()
    with pytest.raises(UserError, match=r"SLIPWAY_SETTINGS=.*other\.yaml is not there: name a file such as"):
        load_settings()
