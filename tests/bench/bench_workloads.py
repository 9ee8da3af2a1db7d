"""The workloads that come along as `slipway run` runs them, each in a fresh home: score beside a baseline on the same rows, time, memory.

Baselines, on the same test rows and fitted on the same training rows: flights, scikit-learn's HistGradientBoostingClassifier; glosses,
TF-IDF and logistic regression; cells (by folds) and digits, logistic regression; the others', example_baselines.py.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from example_baselines import BASELINES as EXAMPLES
from figures import published, table

from tasks.config import Data
from tasks.data.dataset import prepare, read_frame
from tasks.records import Dataset
from tasks.workloads.catalogue import load_workload

LIMITS = {"digits": 90, "cells": 90, "glosses": 600, "flights": 600, **dict.fromkeys(EXAMPLES, 180)}


def main() -> None:
    chosen = sys.argv[1:] or list(LIMITS)
    with published("workloads", "torch", "onnxruntime") as lines:
        rows = [one(name) for name in chosen]
        lines += table(list(rows[0]), [list(map(str, row.values())) for row in rows])


def one(name: str) -> dict[str, Any]:
    """A full run and a verification of what it promoted, then the baseline."""
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as home:
        environment = {**os.environ, "SLIPWAY_HOME": home}
        started = time.perf_counter()
        said, used = slipway(environment, "run", name, "--json")
        seconds, outcome = time.perf_counter() - started, json.loads(said)
        slipway(environment, "verify", f"{name}@champion")
        evidence = json.loads((Path(home) / "work" / name / "package" / "evidence.json").read_text())
        dataset = prepare(name, Data(), Path(home) / "datasets")
        theirs = BASELINES[name](dataset)
    cross = evidence["proof"]["cross_validation"]
    interval = (cross or evidence["proof"]["report"])["interval"]
    return {
        "workload": name,
        "decision": outcome["decision"],
        "picked": outcome["picked"],
        "score": round(cross["score"] if cross else outcome["score"], 4),
        "interval": f"{interval['low']:.4f}-{interval['high']:.4f}",
        "baseline": round(theirs, 4),
        "seconds": round(seconds),
        "limit": LIMITS[name],
        "CPU-seconds": round(used.ru_utime + used.ru_stime),
        "peak MB": round(used.ru_maxrss / 1000),
    }


def slipway(environment: dict[str, str], *words: str) -> tuple[str, resource.struct_rusage]:
    """What a command says, and what it and all that it waited for used, its memory that of the largest process."""
    command = [sys.executable, "-m", "flows.cli", *words]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {process.returncode}")
    return said, used


def boosting(dataset: Dataset) -> float:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score

    from tasks.workloads.examples.flights import CODES, SCHEDULE, WEATHER

    train, test = read_frame(dataset, "train"), read_frame(dataset, "test")
    columns = [*CODES, *SCHEDULE, *WEATHER]
    kinds = {name: pd.CategoricalDtype(sorted(train[name].unique())) for name in CODES}
    model = HistGradientBoostingClassifier(categorical_features="from_dtype", random_state=0)
    model.fit(train[columns].astype(kinds), train["late"])
    return float(roc_auc_score(test["late"], model.predict_proba(test[columns].astype(kinds))[:, 1]))


def tfidf(dataset: Dataset) -> float:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    train, test = read_frame(dataset, "train"), read_frame(dataset, "test")
    model = make_pipeline(TfidfVectorizer(sublinear_tf=True, min_df=2), LogisticRegression(C=3, max_iter=300))
    return float(model.fit(train["gloss"], train["kind"]).score(test["gloss"], test["kind"]))


def linear_folds(dataset: Dataset) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    frame = load_workload("cells").load()
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    genes, types = frame.drop(columns="cell_type").to_numpy(), frame["cell_type"]
    return float(cross_val_score(LogisticRegression(max_iter=500), genes, types, cv=folds).mean())


def linear(dataset: Dataset) -> float:
    from sklearn.linear_model import LogisticRegression

    train, test = read_frame(dataset, "train"), read_frame(dataset, "test")
    model = LogisticRegression(max_iter=500).fit(train.drop(columns="label"), train["label"])
    return float(model.score(test.drop(columns="label"), test["label"]))


BASELINES: dict[str, Callable[[Dataset], float]] = {
    "digits": linear,
    "cells": linear_folds,
    "glosses": tfidf,
    "flights": boosting,
    **EXAMPLES,
}

if __name__ == "__main__":
    main()
