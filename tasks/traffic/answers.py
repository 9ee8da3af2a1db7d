"""What a version's recorded answers say, and whether labels bear them out: by the classes that its evidence has."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tasks.errors import UserError
from tasks.goals.goal import Goal
from tasks.goals.metric import Array, Arrays
from tasks.goals.words import codes_of_words
from tasks.proof import evidence
from tasks.proof.evidence import EVIDENCE, Evidence
from tasks.proof.permit import PERMIT_TAG, PermitError, read_permit
from tasks.records import Fitted, Version
from tasks.registry.registry import Registry
from tasks.system.files import sha256_of
from tasks.system.scratch import scratch
from tasks.system.signing import keyring
from tasks.workloads.catalogue import load_workload
from tasks.workloads.workload import Workload


@dataclass(frozen=True)
class Answers:
    """One version's, of its first goal."""

    evidence: Evidence

    @cached_property
    def workload(self) -> Workload:
        return load_workload(self.evidence.workload)

    @property
    def goal(self) -> Goal:
        return self.workload.goals[0]

    @property
    def classes(self) -> tuple[str, ...]:
        """What a label can be; nothing where an answer is no word."""
        return self._fitted.classes or () if self.goal.answer.alone else ()

    def in_words(self, outputs: Mapping[str, Array]) -> list[str]:
        """Each row's answer as people read it, of outputs [n, values] by name."""
        return self.goal.answer.words(self._decided(outputs), self._fitted)

    def right(self, outputs: Mapping[str, Array], labels: Sequence[str]) -> Array:
        """float64[n]: 1 where the answer is the label's, else 0; NaN for a label that is no class."""
        check_by_row(self.workload)
        assert self.goal.metric.sums is not None
        target = codes_of_words(np.array(labels, dtype=str), self._fitted)
        scores = self.goal.metric.sums(target, self._decided(outputs))[:, 0]
        return np.where(target < 0, np.nan, scores)

    @property
    def _fitted(self) -> Fitted:
        learned = self.evidence.proof.report.fitted
        return learned[0] if learned else Fitted(classes=self.evidence.classes)

    def _decided(self, outputs: Mapping[str, Array]) -> Arrays:
        shaped = {
            name: array[:, 0] if self.goal.answer.alone and array.dtype.kind == "U" else array
            for name, array in outputs.items()
        }
        return self.goal.decide(shaped, self._fitted)


def check_by_row(workload: Workload) -> None:
    """Raise UserError for a workload whose score is not the share of rows that are right."""
    goal = workload.goals[0]
    if not (goal.answer.alone and goal.metric.by_row):
        raise UserError(
            f"{workload.name} ({goal.name}) is scored by {goal.metric.name}, which no row has by itself: labels are held to the answers of "
            "classifications that are scored by accuracy."
        )


def answers_of(registry: Registry, version: Version) -> Answers:
    """By the version's evidence: its permit says by whose digest it is the one, else all files are checked. Raises EvidenceError."""
    with scratch("evidence") as folder:
        with suppress(PermitError, UserError):
            text = registry.tags(version).get(PERMIT_TAG, "")
            permit = read_permit(text, keyring().fits)
            registry.download_file(version, EVIDENCE, folder)
            if sha256_of(folder / EVIDENCE) == permit.evidence_sha256:
                return Answers(evidence.read(folder))
        whole = registry.download(version, folder / "version")
        return Answers(evidence.verify(whole, model=version.model))
