"""Test texts that are no test: those that stand, exactly or nearly, in what a model is tuned on or chosen by.

They are counted and told, and nothing is left out for them: what a run reads must not change with what is looked for in
it. A text that stands exactly in two splits of one dataset was taken out of one of them before (`harness.engine.data`).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.engine.cache import Cache
from harness.engine.data import Prepared, plainly, text_keys
from harness.records import Leak, Split

# Raised when what counts as nearly the same changes.
_FORMAT = 1


def find_leaks(data: Sequence[Prepared], stages: int, cache: Cache) -> list[tuple[Leak, ...]]:
    """Return for each dataset where its test texts stand besides, leaving out places where none does.

    Args:
        data: The datasets of the stages, in order, then those that are watched.
        stages: How many of them are stages.
        cache: Where what was made of every text is kept.
    """
    texts = [_Texts(prepared, cache) for prepared in data]
    found = []
    for position, prepared in enumerate(data):
        places: list[tuple[Split, int | None]] = [("train", None), ("validation", None)]
        places += [("train", stage) for stage in range(stages) if data[stage].key != prepared.key]
        leaks = [_leak(texts[position], texts[position if at is None else at], split, at) for split, at in places]
        found.append(tuple(leak for leak in leaks if leak.exact or leak.near))
    return found


def nearly(text: str) -> str:
    """Return what is left of a text without its case, spacing, punctuation and Unicode form.

    Symbols stay, because they tell texts apart: a plus from a minus, a smile from a tear. So does a text of nothing else.
    """
    words = unicodedata.normalize("NFKC", text).casefold().translate(_spaced).split()
    return " ".join(words) if words else plainly(text)


class _Spaced(dict[int, int]):
    """For every character's number the number of what stands in its place; looked up once for each that occurs."""

    def __missing__(self, code: int) -> int:
        # Unicode's general categories: punctuation, separators, and what is not shown, such as a soft hyphen.
        self[code] = ord(" ") if unicodedata.category(chr(code))[0] in "PZC" else code
        return self[code]


_spaced = _Spaced()


class _Texts:
    """A number for every text of a dataset, equal where texts are equal exactly, or nearly."""

    def __init__(self, prepared: Prepared, cache: Cache) -> None:
        def build(target: Path) -> None:
            for split, rows in prepared.splits.items():
                np.savez(target / split, exact=text_keys(rows, plainly), near=text_keys(rows, nearly))

        self._folder = cache.make("texts", [_FORMAT, prepared.key], build)

    def read(self, split: Split) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Return the exact and the near numbers of a split's texts, each `[n]`."""
        with np.load(self._folder / f"{split}.npz", allow_pickle=False) as kept:
            return kept["exact"], kept["near"]


def _leak(tested: _Texts, known: _Texts, split: Split, stage: int | None) -> Leak:
    exact, near = (np.isin(*pair) for pair in zip(tested.read("test"), known.read(split), strict=True))
    return Leak(split=split, stage=stage, exact=int(exact.sum()), near=int((near & ~exact).sum()))
