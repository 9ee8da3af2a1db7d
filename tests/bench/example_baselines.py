"""What each example is held against: a well-kept model without torch, fitted on the same training rows, scored on the same test rows.

`python tests/bench/example_baselines.py [NAME…]` prints them; bench_workloads.py sets them beside whole runs.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.config import Data
from tasks.data.dataset import prepare, read_frame, read_split
from tasks.records import Dataset

Array = np.ndarray[Any, Any]


def logistic_labels(dataset: Dataset) -> float:
    """yeast: a logistic regression a label, its threshold the best F1 on the validation rows; macro F1."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score
    from sklearn.preprocessing import StandardScaler

    train, choose, test = (read_split(dataset, split) for split in ("train", "validation", "test"))
    scale = StandardScaler().fit(train.inputs["levels"])
    scores = []
    for label in range(train.target.shape[1]):
        model = LogisticRegression(C=0.1, max_iter=300)
        model.fit(scale.transform(train.inputs["levels"]), train.target[:, label])
        seen, asked = (
            model.predict_proba(scale.transform(rows.inputs["levels"]))[:, 1] for rows in (choose, test)
        )
        best = max(
            np.linspace(0.02, 0.9, 89),
            key=lambda at: f1_score(choose.target[:, label], seen >= at, zero_division=0),
        )
        scores.append(f1_score(test.target[:, label], asked >= best, zero_division=0))
    return float(np.mean(scores))


def linear_pixels(dataset: Dataset) -> float:
    """scans: logistic regression on the decoded pixels; accuracy."""
    from sklearn.linear_model import LogisticRegression

    train, test = read_split(dataset, "train"), read_split(dataset, "test")
    pixels, asked = (
        rows.inputs["image"].mean(3).reshape(len(rows.target), -1) / 255 for rows in (train, test)
    )
    return float(LogisticRegression(max_iter=500).fit(pixels, train.target).score(asked, test.target))


def ridge_hours(dataset: Dataset) -> float:
    """temperature: ridge regression of the change since the last hour, and each step's quantiles of its own training errors; −pinball."""
    from sklearn.linear_model import Ridge
    from sklearn.metrics import mean_pinball_loss

    from tasks.workloads.examples.temperature import QUANTILES

    train, test = read_split(dataset, "train"), read_split(dataset, "test")
    last, asked = (rows.inputs["past"][:, -1:] for rows in (train, test))
    model = Ridge(alpha=100).fit(train.inputs["past"] - last, train.target - last)
    errors = train.target - last - model.predict(train.inputs["past"] - last)
    ahead = asked + model.predict(test.inputs["past"] - asked)
    losses = [
        mean_pinball_loss(test.target, ahead + np.quantile(errors, level, axis=0), alpha=level)
        for level in QUANTILES
    ]
    return -float(np.mean(losses))


def windows_of_sounds(dataset: Dataset) -> float:
    """stress: logistic regression of each vowel, on the sounds two before to two behind and which of how many syllables it is; F1."""
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression

    from tasks.workloads.examples.stress import VOWELS

    def told(frame: pd.DataFrame) -> tuple[list[dict[str, str]], list[str]]:
        features, tags = [], []
        for sounds, stress in zip(frame["sounds"], frame["stress"], strict=True):
            phones = ["", "", *sounds.split(), "", ""]
            syllables = [place for place in range(2, len(phones) - 2) if phones[place] in VOWELS]
            for number, place in enumerate(syllables):
                near = {f"at {step}": phones[place + step] for step in range(-2, 3)}
                of = f"{number} of {len(syllables)}"
                features.append({**near, "place": of, "sound and place": f"{phones[place]} {of}"})
                tags.append(stress[place - 2])
        return features, tags

    columns = DictVectorizer()
    features, tags = told(read_frame(dataset, "train"))
    model = LogisticRegression(max_iter=100).fit(columns.fit_transform(features), tags)
    features, tags = told(read_frame(dataset, "test"))
    # a vowel always has a tag and nothing else has: what is right is precision and recall alike
    return float(model.score(columns.transform(features), tags))


def boosted_delays(dataset: Dataset) -> float:
    """departures: gradient boosting of what a flight is worth, its rows ranked by that; NDCG@5."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.metrics import ndcg_score

    from tasks.workloads.examples.departures import RECORD

    train, test = read_frame(dataset, "train"), read_frame(dataset, "test")
    words = {name: pd.CategoricalDtype(sorted(train[name].unique())) for name in ("carrier", "to")}
    columns = [*words, "hour", "minute", "weekday", "miles", *RECORD]
    model = HistGradientBoostingRegressor(categorical_features="from_dtype", random_state=0)
    model.fit(train[columns].astype(words), train["late"])
    asked = test.assign(score=model.predict(test[columns].astype(words)))
    hours = [hour for _, hour in asked.groupby("hour_at") if hour["late"].any()]
    return float(np.mean([ndcg_score([hour["late"]], [hour["score"]], k=5) for hour in hours]))


def words_of_glosses(dataset: Dataset) -> float:
    """topics: TF-IDF and logistic regression; accuracy."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    train, test = read_frame(dataset, "train"), read_frame(dataset, "test")
    model = make_pipeline(TfidfVectorizer(sublinear_tf=True), LogisticRegression(C=3, max_iter=300))
    return float(model.fit(train["gloss"], train["kind"]).score(test["gloss"], test["kind"]))


BASELINES: dict[str, Callable[[Dataset], float]] = {
    "departures": boosted_delays,
    "scans": linear_pixels,
    "stress": windows_of_sounds,
    "temperature": ridge_hours,
    "topics": words_of_glosses,
    "yeast": logistic_labels,
}

if __name__ == "__main__":
    for name in sys.argv[1:] or BASELINES:
        with tempfile.TemporaryDirectory() as folder:
            print(f"{name:12} {BASELINES[name](prepare(name, Data(), Path(folder))):.4f}", flush=True)
