"""Leaks: test texts that also occur, exactly or nearly, in the data used for tuning or selection.

They are counted and reported but not removed, so that the search does not change the data of a run. Exact duplicates
between splits of one dataset were already removed (`harness.engine.data`).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.engine.cache import Cache
from harness.engine.data import Prepared
from harness.engine.splits import plainly, text_keys
from harness.records import Leak, Split

# Increase when the definition of near duplicates changes.
_FORMAT = 1


def find_leaks(data: Sequence[Prepared], stages: int, cache: Cache) -> list[tuple[Leak, ...]]:
    """Return for each dataset the splits where its test texts also occur, without splits that have none.

    Args:
        data: The datasets of the stages, in order, then the watched ones.
        stages: Number of stages.
        cache: Cache of the text keys.
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
    """Return a text with case, spacing, punctuation and Unicode form normalised.

    Symbols are preserved because they distinguish texts: plus and minus, different emoji. A text of punctuation only is
    also preserved.
    """
    words = unicodedata.normalize("NFKC", text).casefold().translate(_spaced).split()
    return " ".join(words) if words else plainly(text)


class _Spaced(dict[int, int]):
    """Maps each code point to its replacement, computed once per code point."""

    def __missing__(self, code: int) -> int:
        # Unicode general categories: punctuation, separators, and invisible characters such as a soft hyphen.
        self[code] = ord(" ") if unicodedata.category(chr(code))[0] in "PZC" else code
        return self[code]


_spaced = _Spaced()


class _Texts:
    """Keys of a dataset's texts, for exact and near equality."""

    def __init__(self, prepared: Prepared, cache: Cache) -> None:
        def build(target: Path) -> None:
            for split, rows in prepared.splits.items():
                np.savez(target / split, exact=text_keys(rows, plainly), near=text_keys(rows, nearly))

        self._folder = cache.make("texts", [_FORMAT, prepared.key], build)

    def read(self, split: Split) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Return the exact and the near keys of a split's texts, each `[n]`."""
        with np.load(self._folder / f"{split}.npz", allow_pickle=False) as kept:
            return kept["exact"], kept["near"]


def _leak(tested: _Texts, known: _Texts, split: Split, stage: int | None) -> Leak:
    exact, near = (np.isin(*pair) for pair in zip(tested.read("test"), known.read(split), strict=True))
    return Leak(split=split, stage=stage, exact=int(exact.sum()), near=int((near & ~exact).sum()))
