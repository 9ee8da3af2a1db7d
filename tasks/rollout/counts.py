"""All there is of the evidence: how often what was seen. Integers that only grow, so that any number of processes add up."""

from typing import Self

from pydantic import Field, model_validator

from tasks.system.frozen import Frozen


class _Added(Frozen):
    def __add__(self, other: Self) -> Self:
        return type(self)(
            **{name: getattr(self, name) + getattr(other, name) for name in type(self).model_fields}
        )


class Counts(_Added):
    """What servers saw of two versions, `new` and `old`; a pair is one row of one request, run on both."""

    requests: int = Field(
        0, ge=0, description="Requests that clients had answered by the new version's lane."
    )
    rescued: int = Field(
        0, ge=0, description="Of these, the ones that it failed and the old version answered."
    )
    pairs: int = Field(0, ge=0)
    served: int = Field(
        0,
        ge=0,
        description="Pairs of requests that the new version's lane answered: `requests` has them, and `rescued` their failures, "
        "so `failed` has not.",
    )
    failed: int = Field(
        0, ge=0, description="Pairs, but for `served`, that the new version failed and the old one answered."
    )
    timed: int = Field(0, ge=0, description="Pairs that both answered, so that their CPU times compare.")
    slow: int = Field(0, ge=0, description="Timed pairs whose ratio new/old was above margin.slower.")
    tail_worse: int = Field(0, ge=0, description="Timed pairs with ratio / margin.slower above 2.")
    tail_better: int = Field(0, ge=0, description="Timed pairs with ratio / margin.slower below 1/2.")
    agreed: int = Field(0, ge=0, description="Timed pairs with the same answer.")

    @model_validator(mode="after")
    def _add_up(self) -> Self:
        """Parts are no more than the whole: a bet on less than nothing would win."""
        rows = self.requests + self.pairs - self.served
        if min(self.pairs - self.served, rows - self.rescued - self.failed, self.pairs - self.timed) < 0:
            raise ValueError("more failed, were served or were timed than there were")
        if (
            min(
                self.timed - self.slow,
                self.timed - self.tail_worse - self.tail_better,
                self.timed - self.agreed,
            )
            < 0
        ):
            raise ValueError("more were slow, fast or alike than were timed")
        return self


class LabelCounts(_Added):
    """What labels say of the pairs whose request is older than the horizon."""

    matured: int = Field(0, ge=0, description="Pairs old enough, agreeing ones included.")
    agreed: int = Field(0, ge=0)
    better: int = Field(0, ge=0, description="Differ, and the new version was right.")
    worse: int = Field(0, ge=0, description="Differ, and the old version was right.")
    neither: int = Field(0, ge=0, description="Differ, and neither was right.")
    missing: int = Field(0, ge=0, description="Differ, without a label that can be used.")

    @model_validator(mode="after")
    def _add_up(self) -> Self:
        """A pair of which nothing is known is missing: left out, it would be taken for agreement."""
        if self.matured != self.pairs:
            raise ValueError(f"{self.matured} pairs matured, and {self.pairs} are accounted for")
        return self

    @property
    def apart(self) -> int:
        """Pairs that differ."""
        return self.better + self.worse + self.neither + self.missing

    @property
    def pairs(self) -> int:
        """All that are accounted for."""
        return self.agreed + self.apart
