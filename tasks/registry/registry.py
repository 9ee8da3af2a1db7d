"""The model registry: versions, aliases, tags, files, and the runs that the ledger is made of."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.errors import StepError
from tasks.records import OnnxModel, Version
from tasks.registry.claims import CLAIMS, claims_of, claims_run, find, read_claims
from tasks.registry.download import download_version
from tasks.registry.pages import AS_MACHINE_LEARNING
from tasks.registry.rest import Entity
from tasks.registry.runs import Runs
from tasks.system.sentences import first_line, shortened

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

_LONGEST = 5000  # of a version's description in MLflow's databases; SQLite alone would take more


class Registry(Runs):
    """All that Slipway asks of MLflow and writes to it."""

    def register(
        self,
        run_id: str,
        model: str,
        model_id: str,
        folder: Path,
        onnx_model: OnnxModel,
        tags: Mapping[str, str],
        description: str = "",
    ) -> Version:
        """Upload a candidate's sealed folder and make it the model's next version. No alias moves."""
        self.upload(model_id, folder)
        return self.add_version(run_id, model, model_id, onnx_model.sha256, tags, description)

    def upload(self, model_id: str, folder: Path) -> None:
        """The files of a LoggedModel, which is whole then."""
        self.client.log_model_artifacts(model_id, str(folder))
        self.client.finalize_logged_model(model_id, "READY")

    def add_version(
        self,
        run_id: str,
        model: str,
        model_id: str,
        sha256: str,
        tags: Mapping[str, str],
        description: str = "",
    ) -> Version:
        """Make what was uploaded the model's next version. No alias moves."""
        self.begin_model(model)
        made = self.client.create_model_version(
            model,
            source=f"models:/{model_id}",
            run_id=run_id,
            tags={"slipway.sha256": sha256, **tags},
            description=shortened(description, _LONGEST - 1),
            model_id=model_id,
        )
        return Version(model=model, version=int(made.version), sha256=sha256, run_id=run_id)

    def begin_model(self, model: str) -> None:
        """Have the registered model, without versions as yet; again changes nothing."""
        from mlflow.exceptions import MlflowException

        try:
            self.client.create_registered_model(model)
        except MlflowException:
            self.client.get_registered_model(model)  # it was there; anything else is raised here

    def describe(self, model: str, text: str, *, mark: str) -> None:
        """The registered model's own page, unless a person wrote it: what is ours ends with `mark`."""
        stored = self.client.get_registered_model(model).description or ""
        if not stored or stored.endswith(mark):
            self.client.update_registered_model(model, text)

    def version(self, model: str, version: int) -> Version | None:
        """A registered version, or None."""
        return find(lambda: _version(self.decisions.get_model_version(model, str(version))))

    def by_alias(self, model: str, alias: str) -> Version | None:
        """The version an alias points at, or None."""
        return find(lambda: _version(self.decisions.get_model_version_by_alias(model, alias)))

    def number(self, model: str, alias: str) -> int | None:
        """The number of the version an alias points at, or None."""
        version = self.by_alias(model, alias)
        return version.version if version is not None else None

    def all_by_tag(self, model: str, tag: str, value: str) -> list[Version]:
        """The versions with this tag, the newest first."""
        query = f"name = '{model}' AND tags.`{tag}` = '{value}'"
        versions = map(_version, self.decisions.search_model_versions(query))
        return sorted(versions, key=lambda version: version.version, reverse=True)

    def newest_by_tag(self, tag: str, value: str) -> dict[str, int]:
        """The number of each model's newest version with this tag, in one read for all models."""
        versions = map(_version, self.decisions.search_model_versions(f"tags.`{tag}` = '{value}'"))
        return {each.model: each.version for each in sorted(versions, key=lambda each: each.version)}

    def versions(self, model: str) -> list[tuple[Version, dict[str, str]]]:
        """Every version that is there, and its tags, the newest first."""
        stored = self.decisions.search_model_versions(f"name = '{model}'")
        versions = [(_version(each), dict(each.tags or {})) for each in stored]
        return sorted(versions, key=lambda each: each[0].version, reverse=True)

    def by_tag(self, model: str, tag: str, value: str) -> Version | None:
        """The newest version with this tag, or None."""
        return next(iter(self.all_by_tag(model, tag, value)), None)

    def tags(self, version: Version) -> dict[str, str]:
        return dict(self.decisions.get_model_version(version.model, str(version.version)).tags)

    def description(self, version: Version) -> str:
        stored = self.decisions.get_model_version(version.model, str(version.version))
        return stored.description or ""

    def tag_version(self, version: Version, tags: Mapping[str, str]) -> None:
        for key, value in tags.items():
            self.decisions.set_model_version_tag(version.model, str(version.version), key, value)

    def delete_version(self, version: Version) -> None:
        """Take a version away; its run and files stay."""
        self.client.delete_model_version(version.model, str(version.version))

    def set_alias(self, model: str, alias: str, version: int) -> None:
        """Move an alias. The registry takes no expected version (the last writer wins): callers hold the model's lock."""
        self.decisions.set_registered_model_alias(model, alias, str(version))

    def delete_alias(self, model: str, alias: str) -> None:
        self.decisions.delete_registered_model_alias(model, alias)

    def add_ledger_entry(self, model: str, name: str, tags: Mapping[str, str]) -> str:
        """A finished run in the model's ledger, made with all its tags in one transaction; its id."""
        run = self.decisions.create_run(
            self.experiment(f"slipway-ledger/{model}"), run_name=name, tags=dict(tags)
        )
        self.decisions.set_terminated(run.info.run_id)
        return str(run.info.run_id)

    def claims(self, model: str) -> dict[str, str] | None:
        """What was claimed about a model, by name; None before the first claim, empty when the run that held it was deleted."""
        return read_claims(self.decisions, model)

    def claim(self, model: str, name: str, value: str) -> str:
        """Write `value` under a name, if nothing was written under it; what stands there, which is another's when that came first.

        MLflow writes a parameter once: run and name are its primary key. Values over 6,000 characters are cut without a word.
        """
        run_id = claims_run(self.decisions, model)
        assert run_id is not None, "begin_claims comes first"
        try:
            self.decisions.log_param(run_id, name, value)
        except Exception:
            standing = (self.claims(model) or {}).get(name)
            if standing is None:
                raise
            return standing
        return value

    def begin_claims(self, model: str, values: Mapping[str, str]) -> None:
        """Have a run to claim in, that holds `values`. Of two that begin at once, one wins: an experiment's name is unique."""
        run = self.decisions.create_run(
            self.experiment(f"slipway-ledger/{model}"), run_name="claims", tags={CLAIMS: model}
        )
        run_id, name = str(run.info.run_id), claims_of(model)
        for key, value in values.items():
            self.decisions.log_param(run_id, key, value)
        self.decisions.set_terminated(run_id)
        try:
            self.decisions.create_experiment(name, tags={CLAIMS: run_id})
        except Exception:
            if self.claims(model) is None:
                raise
            experiment = self.decisions.get_experiment_by_name(name)
            if experiment is not None and not self.claims(model):  # its run was deleted
                self.decisions.set_experiment_tag(experiment.experiment_id, CLAIMS, run_id)

    def ledger_entries(self, model: str) -> list[tuple[str, dict[str, str]]]:
        """(run id, tags) of every run of the model's ledger that is not deleted, in no order to rely on."""
        ledger = self.decisions.get_experiment_by_name(f"slipway-ledger/{model}")
        entries: list[tuple[str, dict[str, str]]] = []
        token = None
        while ledger is not None:
            page = self.decisions.search_runs([ledger.experiment_id], max_results=1000, page_token=token)
            runs = [(str(run.info.run_id), dict(run.data.tags)) for run in page]
            entries += [(run_id, tags) for run_id, tags in runs if CLAIMS not in tags]
            if not (token := page.token):
                break
        return entries

    def model_tags(self, model: str) -> dict[str, str] | None:
        """The registered model's tags, or None when there is no such model."""
        return find(lambda: dict(self.decisions.get_registered_model(model).tags))

    def tag_model(self, model: str, tags: Mapping[str, str]) -> None:
        for key, value in tags.items():
            self.decisions.set_registered_model_tag(model, key, value)

    def models(self) -> dict[str, dict[str, str]]:
        """Every registered model's tags, by name."""
        tags: dict[str, dict[str, str]] = {}
        token = None
        while True:
            page = self.decisions.search_registered_models(max_results=200, page_token=token)
            tags |= {model.name: dict(model.tags or {}) for model in page}
            if not (token := page.token):
                return tags

    def download(self, version: Version, folder: Path, file: str = "") -> Path:
        """The version's whole folder, or one file of it, downloaded below `folder`; its path. Raises StepError when that is not to be had."""
        return download_version(self.decisions, version.model, version.version, folder, file)

    def download_file(self, version: Version, name: str, folder: Path) -> Path:
        """`folder` with one file of the run that made the version. Raises StepError when it is not to be had."""
        try:
            self.client.download_artifacts(version.run_id, name, str(folder))
        except Exception as error:  # MLflow's, the disk's and those of storages have no common base
            raise StepError(
                f"{name} of {version.model} version {version.version} is not to be had from MLflow ({first_line(error)})."
            ) from error
        return folder

    def version_address(self, version: Version) -> str | None:
        """The version's page, when a server shows one."""
        if self.settings.embedded:
            return None
        return f"{self.pages}/models/{version.model}/versions/{version.version}{AS_MACHINE_LEARNING}"


def _version(stored: "ModelVersion | Entity") -> Version:
    sha256 = (stored.tags or {}).get("slipway.sha256", "")
    return Version(model=stored.name, version=int(stored.version), sha256=sha256, run_id=stored.run_id or "")
