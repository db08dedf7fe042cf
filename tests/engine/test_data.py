from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import datasets
import pytest

from harness.contracts import Data, Dataset, Facts
from harness.engine.cache import Cache
from harness.engine.data import Prepared, prepare
from harness.errors import HarnessError
from harness.records import SPLITS, Split


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


def prepared(tmp_path: Path, rows: Mapping[Split, Sequence[tuple[str, int]]], **params: object) -> Prepared:
    dataset = Given(rows=rows, **params)
    return prepare(dataset, dataset.reference(), Cache(tmp_path))


def many(count: int, yes_share: float = 0.5, prefix: str = "text") -> list[tuple[str, int]]:
    return [(f"{prefix} {number}", int(number < count * yes_share)) for number in range(count)]


def test_missing_splits_are_carved_from_train_class_by_class(tmp_path):
    splits = prepared(tmp_path, {"train": many(100, yes_share=0.2)}).splits
    assert {name: len(splits[name]) for name in SPLITS} == {"train": 72, "validation": 8, "test": 20}
    assert Counter(splits["test"]["label"][:]) == {0: 16, 1: 4}


def test_a_split_that_is_there_is_kept_as_it_is(tmp_path):
    splits = prepared(tmp_path, {"train": many(40), "test": many(10, prefix="unseen")}).splits
    assert splits["test"]["text"][:] == [f"unseen {number}" for number in range(10)]
    assert len(splits["train"]) + len(splits["validation"]) == 40


def test_a_text_of_the_test_split_is_taken_out_of_the_others_whatever_its_case_and_spacing(tmp_path):
    rows = {
        "train": [*many(30), ("The  same TEXT", 1)],
        "validation": [("fine", 0), ("the same text", 1)],
        "test": [("the same text", 1), ("other", 0)],
    }
    found = prepared(tmp_path, rows)
    assert found.moved == 2
    assert "The  same TEXT" not in found.splits["train"]["text"][:]
    assert found.splits["validation"]["text"][:] == ["fine"]
    assert found.splits["test"]["text"][:] == ["the same text", "other"]


def test_carving_never_parts_rows_of_the_same_text(tmp_path):
    rows = [(f"text {number % 25}", number % 25 % 2) for number in range(100)]
    splits = prepared(tmp_path, {"train": rows}).splits
    texts = [set(splits[name]["text"][:]) for name in SPLITS]
    assert not texts[0] & texts[1]
    assert not texts[0] & texts[2]
    assert not texts[1] & texts[2]
    assert sum(len(splits[name]) for name in SPLITS) == 100


def test_a_limit_keeps_the_classes_proportions_to_the_row(tmp_path):
    splits = prepared(
        tmp_path, {"train": many(100, 0.3), "test": many(50, 0.3, "t")}, limit={"train": 10, "test": 7}
    ).splits
    assert Counter(splits["train"]["label"][:]) == {0: 7, 1: 3}
    assert Counter(splits["test"]["label"][:]) == {0: 5, 1: 2}


def test_ids_are_unique_over_all_splits(tmp_path):
    splits = prepared(tmp_path, {"train": many(40), "test": many(10, prefix="unseen")}).splits
    ids = [number for name in SPLITS for number in splits[name]["id"][:]]
    assert len(set(ids)) == len(ids) == 50


def test_data_is_read_once_and_then_taken_from_the_cache(tmp_path):
    Given.reads.clear()
    first, second = (prepared(tmp_path, {"train": many(40)}) for _ in range(2))
    assert len(Given.reads) == 1
    assert first.facts == second.facts == Facts(("no", "yes"), "a licence", None)
    assert first.splits["test"]["text"][:] == second.splits["test"]["text"][:]


def test_another_limit_is_another_cache_entry(tmp_path):
    prepared(tmp_path, {"train": many(40)})
    assert len(prepared(tmp_path, {"train": many(40)}, limit={"train": 5}).splits["train"]) == 5


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"train": []}, "dataset 'given' has no rows to train on"),
        (
            {"train": [("one", 0), ("two", 1)]},
            "dataset 'given' is too small: the validation split would be empty (2 rows, 2 distinct texts)",
        ),
    ],
    ids=["no rows", "two rows"],
)
def test_too_little_data_is_said_in_one_line(tmp_path, rows, message):
    with pytest.raises(HarnessError) as error:
        prepared(tmp_path, rows)
    assert str(error.value) == message


class Grouped(Given):
    """Given rows, each of a group of its own."""

    name = "grouped"

    def read(self) -> dict[Split, datasets.Dataset]:
        return {
            split: part.add_column("group", [f"{n}" for n in range(len(part))])
            for split, part in super().read().items()
        }


def test_a_text_of_several_groups_stands_in_one_split_all_the_same(tmp_path):
    texts = ["thank you" if number % 2 else f"text {number}" for number in range(100)]
    dataset = Grouped(rows={"train": [(text, number % 3 % 2) for number, text in enumerate(texts)]})
    found = prepare(dataset, dataset.reference(), Cache(tmp_path))
    with_it = [name for name in SPLITS if "thank you" in found.splits[name]["text"][:]]
    assert with_it == ["test"]
    assert found.moved > 0
    assert sum(len(found.splits[name]) for name in SPLITS) == 100 - found.moved


def test_classes_too_rare_for_a_share_of_their_own_have_one_together(tmp_path):
    rows = [(f"text {number}", number % 150) for number in range(750)]
    splits = prepared(tmp_path, {"train": rows}).splits
    assert {name: len(splits[name]) for name in SPLITS} == {"train": 540, "validation": 60, "test": 150}
    assert max(Counter(splits["validation"]["label"][:]).values()) == 1


def test_a_text_that_is_all_there_is_of_its_class_stays_to_be_learned(tmp_path):
    rows = [(f"text {number}", 0) for number in range(100)] + [(f"rare {number}", number + 1) for number in range(10)]
    splits = prepared(tmp_path, {"train": rows}).splits
    assert set(range(11)) == set(splits["train"]["label"][:])


class Odd(Given):
    """Returns whatever a test wants."""

    name = "odd"

    def read(self) -> object:
        return ODD[self.split_seed]()


def _exit() -> None:
    raise SystemExit(2)


ODD = [
    lambda: None,
    lambda: {"train": [1, 2]},
    lambda: {"training": datasets.Dataset.from_dict({"text": ["a"]})},
    lambda: Data({"train": datasets.Dataset.from_dict({"text": ["a"]})}, {"classes": 2}),
    _exit,
]


@pytest.mark.parametrize(
    ("which", "said"),
    list(
        enumerate(
            [
                "must return harness.Data with datasets.Dataset as splits, not NoneType",
                "must return harness.Data with datasets.Dataset as splits, not a mapping with other values",
                "must return splits named train, validation, test, including train; found: training",
                "facts must be harness.Facts, not dict",
                "read() exited the program (exit code 2)",
            ]
        )
    ),
)
def test_what_a_dataset_must_not_return_is_told_by_its_name(tmp_path, which, said):
    dataset = Odd(rows={"train": []}, split_seed=which)
    with pytest.raises(HarnessError, match="dataset 'odd': ") as error:
        prepare(dataset, dataset.reference(), Cache(tmp_path))
    assert said in str(error.value)


def test_what_a_dataset_raises_keeps_its_trace_and_names_it(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ODD", [lambda: 1 / 0])
    dataset = Odd(rows={"train": []})
    with pytest.raises(ZeroDivisionError) as error:
        prepare(dataset, dataset.reference(), Cache(tmp_path))
    assert error.value.__notes__ == ["while reading dataset 'odd'"]
