from pathlib import Path

import pytest

from harness.catalog import Catalog
from harness.contracts import Dataset
from harness.engine.cache import Cache
from harness.engine.data import Prepared, prepare
from harness.engine.leaks import find_leaks, nearly
from harness.records import Leak


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    write(tmp_path / "validation.csv", ["chosen by", "so; so", "It was *great*"])
    return Cache(tmp_path / "cache")


def write(path: Path, texts: list[str], header: str = "text,label") -> Path:
    lines = [f"{text},{'yes' if number % 2 else 'no'}" for number, text in enumerate(texts)]
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def read(catalog: Catalog, cache: Cache, train: Path, test: Path, **params: object) -> Prepared:
    """Return data whose validation split is a file of its own, so that train is what is in `train`."""
    paths = {"path": str(train), "validation": str(train.parent / "validation.csv"), "test": str(test)}
    dataset = catalog.make(Dataset, "file", {**paths, **params})
    return prepare(dataset, dataset.reference(), cache, seed=0)


def many(prefix: str, count: int = 20) -> list[str]:
    return [f"{prefix} number {number}" for number in range(count)]


TEST = [*many("unseen"), "It was great", "so so", "café", "wait - what"]


def test_what_stands_in_train_or_validation_but_for_punctuation_or_unicode_form_is_counted(catalog, cache, tmp_path):
    # The e of cafe with its accent as a character of its own; "it was GREAT" is equal but for case and spacing.
    known = ["it was  GREAT", "So  So!", "cafe\u0301", "Wait: what?!"]
    train = write(tmp_path / "train.csv", [*many("seen"), *known])
    data = read(catalog, cache, train, write(tmp_path / "test.csv", TEST))
    assert data.moved == 1
    leaks = (Leak(split="train", exact=0, near=3), Leak(split="validation", exact=0, near=2))
    assert find_leaks([data], 1, cache) == [leaks]
    assert len(data.splits["train"]) == 23  # told, not taken out


def test_no_leak_is_nothing_found(catalog, cache, tmp_path):
    data = read(catalog, cache, write(tmp_path / "a.csv", many("seen")), write(tmp_path / "b.csv", many("unseen")))
    assert find_leaks([data], 1, cache) == [()]


def test_a_watched_text_that_another_dataset_tunes_on_is_counted_exactly_and_nearly(catalog, cache, tmp_path):
    tuned_on = write(tmp_path / "a.csv", [*many("seen"), "IT WAS great", "so so!"])
    stage = read(catalog, cache, tuned_on, write(tmp_path / "b.csv", many("unseen")))
    test = write(tmp_path / "d.csv", [*many("unseen"), "it was great", "so so"])
    watched = read(catalog, cache, write(tmp_path / "c.csv", many("other")), test)
    of_stage, of_watched = find_leaks([stage, watched], 1, cache)
    assert of_stage == ()
    # Not those of b.csv: nobody tunes on a test split.
    assert of_watched == (
        Leak(split="validation", exact=0, near=2),
        Leak(split="train", stage=0, exact=1, near=1),
    )


def test_of_pairs_both_texts_must_be_the_same(catalog, cache, tmp_path):
    header = "text,other,label"
    write(tmp_path / "validation.csv", ["chosen,by"], header)
    train = write(tmp_path / "a.csv", ["one,two", "three,four", "five six,seven"], header)
    test = write(tmp_path / "b.csv", ["One!,two", "three,five", "five,six seven"], header)
    data = read(catalog, cache, train, test, text_pair="other")
    assert find_leaks([data], 1, cache) == [(Leak(split="train", exact=0, near=1),)]


def test_data_that_was_kept_before_anybody_looked_is_looked_through_too(catalog, cache, tmp_path):
    paths = write(tmp_path / "a.csv", [*many("seen"), "So  so!"]), write(tmp_path / "b.csv", [*many("unseen"), "so so"])
    read(catalog, cache, *paths)
    assert not (cache.root / "texts").exists()
    assert find_leaks([read(catalog, cache, *paths)], 1, cache)[0][0].near == 1


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("It's fine.", "it s  FINE"),
        ("ﬁne", "fine"),
        ("naïve", "nai\u0308ve"),
        ("Straße", "STRASSE"),
        ("a\u00adb", "a b"),
    ],
    ids=["punctuation", "ligature", "accent", "sharp s", "soft hyphen"],
)
def test_texts_are_nearly_the_same(text, other):
    assert nearly(text) == nearly(other)


@pytest.mark.parametrize(
    ("text", "other"),
    [("2 + 2", "2 - 2"), ("fine 🙂", "fine 🙁"), ("की", "का"), ("?!", "..."), ("", "...")],
    ids=["symbols", "faces", "vowel signs", "nothing but punctuation", "empty"],
)
def test_texts_that_only_look_alike_are_not_nearly_the_same(text, other):
    assert nearly(text) != nearly(other)
