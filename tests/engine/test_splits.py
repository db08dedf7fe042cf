from collections import Counter

import datasets
import pytest

from harness.engine.cache import Cache
from harness.engine.data import Prepared, prepare
from harness.errors import HarnessError
from harness.records import SPLITS, Split
from tests.engine.given import Given, many, prepared


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
    found = prepare(dataset, dataset.reference(), Cache(tmp_path), seed=0)
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


def texts(found: Prepared, split: Split) -> set[str]:
    return set(found.splits[split]["text"][:])


def test_each_seed_draws_its_own_training_rows_and_keeps_the_test_items(tmp_path):
    rows = {"train": many(300, yes_share=0.3)}
    drawn = [prepared(tmp_path, rows, seed, draws="seeds", limit={"train": 60}) for seed in (0, 1, 0)]
    assert [len(found.splits["train"]) for found in drawn] == [60, 60, 60]
    assert texts(drawn[0], "train") == texts(drawn[2], "train") != texts(drawn[1], "train")
    assert texts(drawn[0], "validation") != texts(drawn[1], "validation")
    assert texts(drawn[0], "test") == texts(drawn[1], "test")
    assert texts(drawn[0], "test") == texts(prepared(tmp_path, rows), "test")
    assert all(Counter(found.splits["train"]["label"][:]) == {0: 42, 1: 18} for found in drawn)
    assert all(
        texts(found, a).isdisjoint(texts(found, b))
        for found in drawn
        for a, b in (("train", "test"), ("train", "validation"))
    )
    assert drawn[0].facts.notes == (
        "each seed trains on its own 60 of 216 rows, so intervals contain what other training rows would change",
    )


def test_if_all_rows_are_asked_for_each_seed_leaves_out_a_fifth_and_says_so(tmp_path):
    for limit in ({}, {"train": 1000}):
        found = prepared(tmp_path, {"train": many(100)}, draws="seeds", limit=limit)
        assert len(found.splits["train"]) == 58  # 72 without a fifth
        assert found.over == 0
        (note,) = found.facts.notes
        assert note.startswith("each seed trains on its own 80% of 72 rows, so intervals contain a part of what other")


def test_fixed_draws_are_the_same_for_every_seed(tmp_path):
    rows = {"train": many(100)}
    assert prepared(tmp_path, rows, 0, limit={"train": 20}).key == prepared(tmp_path, rows, 1, limit={"train": 20}).key


def test_folds_test_on_every_row_once_in_each_repetition(tmp_path):
    rows = {"train": many(103, yes_share=0.2)}
    found = [prepared(tmp_path, rows, seed, folds=5) for seed in range(10)]
    for repetition in (found[:5], found[5:]):
        assert sorted(text for one in repetition for text in one.splits["test"]["text"][:]) == sorted(
            dict(rows["train"])
        )
    assert texts(found[0], "test") != texts(found[5], "test")
    assert all(texts(one, "test").isdisjoint(texts(one, "train") | texts(one, "validation")) for one in found)
    assert all(4 <= sum(one.splits["test"]["label"][:]) <= 5 for one in found)


def test_folds_need_a_file_without_a_test_split_and_enough_texts(tmp_path):
    with pytest.raises(HarnessError, match="'given' has a test split, so it cannot be split into folds"):
        prepared(tmp_path, {"train": many(40), "test": many(10, prefix="unseen")}, folds=5)
    with pytest.raises(HarnessError, match="8 distinct texts or groups, too few for 5 folds"):
        prepared(tmp_path, {"train": many(8)}, folds=5)


class Paired(Given):
    """Rows of two per group."""

    name = "paired"
    per: int = 2

    def read(self) -> dict[Split, datasets.Dataset]:
        return {
            split: rows.add_column("group", [str(number // self.per) for number in range(len(rows))])
            for split, rows in super().read().items()
        }


def groups(found: Prepared, split: Split) -> set[str]:
    return set(found.splits[split]["group"][:])


def test_groups_hold_between_given_files_draws_and_folds(tmp_path):
    dataset = Paired(rows={"train": many(100), "test": many(10, prefix="unseen")})
    found = prepare(dataset, dataset.reference(), Cache(tmp_path), seed=0)
    assert groups(found, "test").isdisjoint(groups(found, "train") | groups(found, "validation"))
    assert found.moved == 10
    dataset = Paired(rows={"train": many(300)}, draws="seeds", limit={"train": 50})
    found = prepare(dataset, dataset.reference(), Cache(tmp_path), seed=0)
    assert all(found.splits["train"]["group"][:].count(group) == 2 for group in groups(found, "train"))
    dataset = Paired(rows={"train": many(300)}, draws="seeds", limit={"train": 49})
    odd = prepare(dataset, dataset.reference(), Cache(tmp_path), seed=0)
    assert all(odd.splits["train"]["group"][:].count(group) == 2 for group in groups(odd, "train"))
    assert 40 <= len(odd.splits["train"]) <= 48
    dataset = Paired(rows={"train": many(100)}, folds=5)
    found = prepare(dataset, dataset.reference(), Cache(tmp_path), seed=3)
    assert groups(found, "test").isdisjoint(groups(found, "train") | groups(found, "validation"))


def test_one_group_or_none_left_is_told(tmp_path):
    alone = Paired(rows={"train": many(20)}, per=100)
    with pytest.raises(HarnessError, match="all rows have the same group, so it cannot be split: leave the group out"):
        prepare(alone, alone.reference(), Cache(tmp_path), seed=0)
    everywhere = Paired(rows={"train": many(4), "test": many(4, prefix="unseen")})
    with pytest.raises(
        HarnessError, match=r"train split would be empty \(8 rows, 8 distinct texts, 2 groups, none of which may be"
    ):
        prepare(everywhere, everywhere.reference(), Cache(tmp_path), seed=0)
