"""A dataset whose rows are given in a test."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import datasets

from harness.contracts import Dataset, Facts
from harness.engine.cache import Cache
from harness.engine.data import Prepared, prepare
from harness.records import Split


class Given(Dataset):
    """Rows given in the test."""

    name = "given"
    task = "text-classification"
    watch_task = "probe"
    rows: Mapping[Split, Sequence[tuple[str, int]]]
    reads: ClassVar[list[int]] = []

    def read(self) -> dict[Split, datasets.Dataset]:
        self.reads.append(1)
        return {
            split: datasets.Dataset.from_dict(
                {"text": [text for text, _ in rows], "label": [label for _, label in rows]}
            )
            for split, rows in self.rows.items()
        }

    def facts(self) -> Facts:
        return Facts(("no", "yes"), "a licence", None)


def prepared(
    tmp_path: Path, rows: Mapping[Split, Sequence[tuple[str, int]]], seed: int = 0, **params: object
) -> Prepared:
    dataset = Given(rows=rows, **params)
    return prepare(dataset, dataset.reference(), Cache(tmp_path), seed)


def many(count: int, yes_share: float = 0.5, prefix: str = "text") -> list[tuple[str, int]]:
    return [(f"{prefix} {number}", int(number < count * yes_share)) for number in range(count)]
