"""Two samples of the same columns → how far the second has drifted from the first. Pure: no files, no clock.

The statistics are scipy's: Kolmogorov–Smirnov for numbers, χ² for categories, both held to a false discovery rate over all
columns. A p-value says "not the same", and with enough rows everything is; so a column has drifted only when the
population stability index (PSI: Σ (q−p)·ln(q/p) over the reference's deciles or categories) also says "by much".
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from tasks.system.frozen import Frozen

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

_BINS = 10

_MOST_CATEGORIES = 20

_FLOOR = 1e-4  # an empty bin's share, so that PSI stays finite


class ColumnDrift(Frozen):
    """One column of the served rows against the reference."""

    name: str
    kind: Literal["number", "category"]
    psi: float
    p_value: float
    drifted: bool
    reference: float | None = None
    served: float | None = None


class Drift(Frozen):
    """All columns, the most drifted first."""

    columns: tuple[ColumnDrift, ...]

    @property
    def drifted(self) -> tuple[ColumnDrift, ...]:
        return tuple(column for column in self.columns if column.drifted)

    @property
    def share(self) -> float:
        """Of the columns that drifted."""
        return len(self.drifted) / len(self.columns) if self.columns else 0.0


def drift(
    reference: "Mapping[str, Array]", served: "Mapping[str, Array]", *, psi: float, p_value: float
) -> Drift:
    """Compare columns by name, each [n] in `reference` and [m] in `served`; NaN counts as a value of its own.

    A column has drifted when its index is at least `psi` and its p-value, corrected for the number of columns
    (Benjamini–Hochberg), is below `p_value`. `reference` and `served` of a number are its means.
    """
    from scipy.stats import false_discovery_control

    compared = {name: _compare(column, served[name]) for name, column in reference.items() if name in served}
    corrected = false_discovery_control([p for _, _, p in compared.values()]) if compared else []
    columns = [
        ColumnDrift(
            name=name,
            kind=kind,
            psi=round(index, 4),
            p_value=float(p),
            drifted=bool(index >= psi and p < p_value),
            reference=_mean(reference[name]) if kind == "number" else None,
            served=_mean(served[name]) if kind == "number" else None,
        )
        for (name, (kind, index, _)), p in zip(compared.items(), corrected, strict=True)
    ]
    return Drift(columns=tuple(sorted(columns, key=lambda column: (not column.drifted, -column.psi))))


def _compare(reference: "Array", served: "Array") -> tuple[Literal["number", "category"], float, float]:
    import numpy as np
    from scipy.stats import chi2_contingency, ks_2samp

    categories = _categories(reference)
    counts = (
        _by_category(reference, served, categories) if categories is not None else _by_bin(reference, served)
    )
    seen = counts[:, counts.sum(axis=0) > 0]
    p = chi2_contingency(seen).pvalue if seen.shape[1] > 1 else 1.0
    if categories is None and not (np.isnan(reference).any() or np.isnan(served).any()):
        p = ks_2samp(reference, served).pvalue
    return "number" if categories is None else "category", _psi(counts), float(p)


def _categories(reference: "Array") -> "Array | None":
    """The values of a column that is no quantity: text, switches, and whole numbers of which there are few."""
    import numpy as np

    if reference.dtype.kind == "f":
        return None
    values: Array = np.unique(reference)
    return values if reference.dtype.kind not in "iu" or len(values) <= _MOST_CATEGORIES else None


def _by_category(reference: "Array", served: "Array", categories: "Array") -> "Array":
    """Counts [2, categories + 1]; the last is for values that the reference does not have."""
    import numpy as np

    def count(column: "Array") -> "Array":
        place = np.searchsorted(categories, column).clip(max=len(categories) - 1)
        return np.bincount(
            np.where(categories[place] == column, place, len(categories)), minlength=len(categories) + 1
        )

    return np.stack([count(reference), count(served)])


def _by_bin(reference: "Array", served: "Array") -> "Array":
    """Counts [2, bins + 1] between the reference's deciles; the last is for NaN."""
    import numpy as np

    numbers = reference[~np.isnan(reference)]
    deciles = np.linspace(0, 1, _BINS + 1)[1:-1]
    edges = np.unique(np.quantile(numbers, deciles)) if len(numbers) else np.zeros(1)

    def count(column: "Array") -> "Array":
        # A value on an edge has a place of its own, or a column that is mostly zero would have one bin.
        place = np.searchsorted(edges, column, "left") + np.searchsorted(edges, column, "right")
        return np.bincount(
            np.where(np.isnan(column), 2 * len(edges) + 1, place), minlength=2 * len(edges) + 2
        )

    return np.stack([count(reference), count(served)])


def _psi(counts: "Array") -> float:
    import numpy as np

    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    expected, actual = np.maximum(shares, _FLOOR)
    return float(((actual - expected) * np.log(actual / expected)).sum())


def _mean(column: "Array") -> float | None:
    import numpy as np

    numbers = column[~np.isnan(column)]
    return float(numbers.mean()) if len(numbers) else None
