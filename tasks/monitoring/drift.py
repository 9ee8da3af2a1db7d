"""Two samples of the same columns → how far the second has drifted from the first. Pure: no files, no clock.

The statistics are scipy's: Kolmogorov–Smirnov for numbers, χ² for categories, both held to a false discovery rate over all
columns. A p-value says "not the same", and with enough rows everything is; so a column has drifted only when the
population stability index (PSI: Σ (q−p)·ln(q/p) over the reference's deciles or categories) also says "by much".
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from tasks.data.arrays import Array
from tasks.monitoring.watched import ColumnDrift, Drift

_BINS = 10

_MOST_CATEGORIES = 20

_FLOOR = 1e-4  # an empty bin's share, so that PSI stays finite


def drift(
    reference: Mapping[str, Array], served: Mapping[str, Array], *, psi: float, p_value: float
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


def _compare(reference: Array, served: Array) -> tuple[Literal["number", "category"], float, float]:
    from scipy.stats import chi2_contingency, ks_2samp
    from scipy.stats.contingency import crosstab

    both = np.concatenate([reference, served])
    categories = _categories(reference)
    places = _by_bin(both, reference) if categories is None else _by_category(both, categories)
    is_served = np.arange(len(both)) >= len(reference)
    counts = crosstab(is_served, places, levels=([False, True], None)).count
    if categories is None and not np.isnan(both).any():
        p = ks_2samp(reference, served).pvalue
    else:
        p = chi2_contingency(counts).pvalue if counts.shape[1] > 1 else 1.0
    return "number" if categories is None else "category", _psi(counts), float(p)


def _categories(reference: Array) -> Array | None:
    """The values of a column that is no quantity: text, switches, and whole numbers of which there are few."""
    if reference.dtype.kind == "f":
        return None
    values: Array = np.unique(reference)
    return values if reference.dtype.kind not in "iu" or len(values) <= _MOST_CATEGORIES else None


def _by_category(column: Array, categories: Array) -> Array:
    """Which of the categories each value is; the place after them is for values that the reference does not have."""
    places = np.searchsorted(categories, column).clip(max=len(categories) - 1)
    return np.where(categories[places] == column, places, len(categories))


def _by_bin(column: Array, reference: Array) -> Array:
    """Between which of the reference's deciles each value lies; the last place is for NaN."""
    numbers = reference[~np.isnan(reference)]
    deciles = np.linspace(0, 1, _BINS + 1)[1:-1]
    edges = np.unique(np.quantile(numbers, deciles)) if len(numbers) else np.zeros(1)
    # A value on an edge has a place of its own, or a column that is mostly zero would have one bin.
    places = np.searchsorted(edges, column, "left") + np.searchsorted(edges, column, "right")
    return np.where(np.isnan(column), 2 * len(edges) + 1, places)


def _psi(counts: Array) -> float:
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    expected, actual = np.maximum(shares, _FLOOR)
    return float(((actual - expected) * np.log(actual / expected)).sum())


def _mean(column: Array) -> float | None:
    numbers = column[~np.isnan(column)]
    return float(numbers.mean()) if len(numbers) else None
