from pathlib import Path
from typing import Any

import datasets
import pytest

from harness import HarnessError
from harness.experiment.asked import Asked
from harness_plugins.datasets.hub import Hub

NAMED = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])})


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def published(folder: Path, features: datasets.Features | None = None, **splits: dict[str, list[Any]]) -> Hub:
    """Return the dataset of a folder laid out as on the hub, read without a network."""
    folder.mkdir()
    for name, columns in splits.items():
        datasets.Dataset.from_dict(columns, features=features).to_parquet(folder / f"{name}.parquet")
    return Hub(id=str(folder), revision="0123abc")


def test_named_labels_keep_their_numbers(tmp_path):
    hub = published(
        tmp_path / "reviews",
        NAMED,
        train={"text": ["dull", "fine"], "label": [0, 1]},
        test={"text": ["very fine"], "label": [1]},
    )
    read = hub.read().splits
    assert {name: split.to_dict() for name, split in read.items()} == {
        "train": {"text": ["dull", "fine"], "label": [0, 1]},
        "test": {"text": ["very fine"], "label": [1]},
    }
    assert hub.read().facts.classes == ("neg", "pos")


def test_labels_that_are_words_are_numbered_in_their_order(tmp_path):
    hub = published(tmp_path / "reviews", train={"text": ["a", "b", "c"], "label": ["pos", "neg", "pos"]})
    assert hub.read().splits["train"].to_dict() == {"text": ["a", "b", "c"], "label": [1, 0, 1]}
    assert hub.read().facts.classes == ("neg", "pos")


def test_a_folder_of_csv_files_is_read_alike(tmp_path):
    folder = tmp_path / "reviews"
    folder.mkdir()
    (folder / "train.csv").write_text("text,label\na,pos\nb,neg\n")
    hub = Hub(id=str(folder), revision="0123abc")
    assert hub.read().splits["train"].to_dict() == {"text": ["a", "b"], "label": [1, 0]}


def test_a_test_split_that_hides_its_labels_is_left_out(tmp_path):
    hub = published(
        tmp_path / "reviews",
        NAMED,
        train={"text": ["dull", "fine"], "label": [0, 1]},
        validation={"text": ["so so", "well"], "label": [0, 1]},
        test={"text": ["who", "knows"], "label": [-1, -1]},
    )
    assert list(hub.read().splits) == ["train", "validation"]


def test_columns_may_have_names_of_their_own(tmp_path):
    folder = tmp_path / "pairs"
    published(folder, train={"premise": ["a", "b"], "hypothesis": ["c", "d"], "gold": ["no", "yes"]})
    hub = Hub(id=str(folder), revision="0123abc", text="premise", text_pair="hypothesis", label="gold")
    assert hub.read().splits["train"].to_dict() == {"text": ["a", "b"], "text_pair": ["c", "d"], "label": [0, 1]}


def test_texts_may_have_no_label(tmp_path):
    folder = tmp_path / "prose"
    published(folder, train={"text": ["a", "b"]})
    hub = Hub(id=str(folder), revision="0123abc", label=None)
    assert hub.read().splits["train"].to_dict() == {"text": ["a", "b"]}
    assert hub.read().facts.classes is None


def test_a_column_that_is_not_there_is_named_with_the_nearest(tmp_path):
    hub = published(tmp_path / "reviews", train={"texts": ["a", "b"], "label": ["no", "yes"]})
    with pytest.raises(HarnessError) as error:
        hub.read()
    assert str(error.value) == (
        f"dataset 'hub:{hub.id}': unknown column 'text': did you mean 'texts'?; "
        "the columns are texts, label; set the column with -o hub.text=COLUMN"
    )


def test_a_test_split_may_lack_a_class_that_train_has(tmp_path):
    hub = published(
        tmp_path / "reviews",
        train={"text": ["a", "b", "c"], "label": ["x", "y", "z"]},
        test={"text": ["d", "e"], "label": ["x", "z"]},
    )
    assert hub.read().splits["test"]["label"][:] == [0, 2]
    assert hub.read().facts.classes == ("x", "y", "z")


def test_a_row_without_a_text_is_refused(tmp_path):
    hub = published(tmp_path / "reviews", NAMED, train={"text": ["a", None, "c"], "label": [0, 1, 0]})
    with pytest.raises(HarnessError) as error:
        hub.read()
    assert str(error.value).startswith(f"dataset 'hub:{hub.id}': ")


def test_a_dataset_that_is_not_there_is_said_in_one_line(tmp_path):
    with pytest.raises(HarnessError) as error:
        Hub(id=str(tmp_path / "none"), revision="0123abc").read()
    message = str(error.value)
    assert message.startswith(f"dataset 'hub:{tmp_path / 'none'}@0123abc' cannot be loaded: ")
    assert "\n" not in message


def test_the_id_the_revision_and_the_subset_are_what_tell_one_dataset_from_another():
    given = [("some/reviews", "0123abc", None), ("some/reviews", "0123abc", "french"), ("some/reviews", "4567def", None),
             ("other/reviews", "0123abc", None)]  # fmt: skip
    assert len({Hub(id=id_, revision=revision, subset=subset).fingerprint() for id_, revision, subset in given}) == 4
    assert Hub.parse_argument("some/reviews@0123abc") == {"id": "some/reviews", "revision": "0123abc"}


@pytest.mark.parametrize("name", ["hub:some/reviews", "hub:some/reviews@"])
def test_a_dataset_without_a_revision_is_refused_with_the_mend(catalog, tiny_model, name):
    asked = Asked(datasets=[name], model=str(tiny_model), watch=["none"], strategies=["untuned"])
    with pytest.raises(HarnessError) as error:
        asked.plan(catalog)
    assert str(error.value) == (
        f"dataset: {name!r} has no revision: write hub:<id>@<revision>, so that the run is reproducible"
    )
