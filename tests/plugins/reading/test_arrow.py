import datetime as dt
import zipfile

import datasets
import pandas as pd
import pytest

from harness import HarnessError
from harness_plugins.datasets.file import File
from harness_plugins.reading.arrow import read_parquet

NAMED = datasets.Features(
    {"tokens": datasets.Sequence(datasets.Value("string")), "ner_tags": datasets.Sequence(datasets.ClassLabel(names=["O", "B-PER"]))}
)  # fmt: skip


def read(path, **params):
    dataset = File(path=str(path), **params)
    return {name: split.to_dict() for name, split in dataset.read().splits.items()}, dataset.read().facts


def test_parquet_keeps_whole_numbers_beside_a_null(tmp_path):
    frame = pd.DataFrame({"text": ["a", "b", "c"], "label": pd.array([1, None, 0], dtype="Int64")})
    frame.to_parquet(tmp_path / "a.parquet")
    splits, facts = read(tmp_path / "a.parquet", on_bad_rows="skip")
    assert splits["train"]["label"] == [1, 0]
    assert facts.classes == ("0", "1")


def test_categories_keep_their_names(tmp_path):
    pd.DataFrame({"text": ["a", "b"], "label": pd.Categorical(["pos", "neg"])}).to_parquet(tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet")[1].classes == ("neg", "pos")


def test_dates_are_written_as_dates(tmp_path):
    frame = pd.DataFrame({"text": ["a", "b"], "label": pd.to_datetime(["2020-01-01", "2021-01-01"])})
    frame.to_parquet(tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet")[1].classes == ("2020-01-01", "2021-01-01")
    assert read_parquet(str(tmp_path / "a.parquet")).columns["label"][0] == dt.datetime(2020, 1, 1)  # noqa: DTZ001


@pytest.mark.parametrize("form", ["saved splits", "a saved dataset", "parquet"])
def test_numbers_that_have_names_are_read_by_their_names(tmp_path, form):
    rows = datasets.Dataset.from_dict(
        {"tokens": [["Anna", "left"], ["She"]], "ner_tags": [[1, 0], [0]]}, features=NAMED
    )
    path = tmp_path / "saved"
    if form == "saved splits":
        datasets.DatasetDict({"train": rows, "test": rows.select([0])}).save_to_disk(path)
    elif form == "a saved dataset":
        rows.save_to_disk(path)
    else:
        path = tmp_path / "a.parquet"
        rows.to_parquet(path)
    splits, facts = read(path)
    assert facts.classes == ("O", "B-PER")
    assert splits["train"] == {
        "words": [["Anna", "left"], ["She"]],
        "tags": [[1, 0], [0]],
        "text": ["Anna left", "She"],
    }
    assert ("test" in splits) == (form == "saved splits")
    assert File(path=str(path)).task_for(watched=False) == "token-classification"


def test_a_sheet_is_read_with_its_whole_numbers_whole(tmp_path):
    path = tmp_path / "a.xlsx"
    with pd.ExcelWriter(path) as writer:
        frame = pd.DataFrame({"text": ["a", "b", None], "label": [1, 2, None], "note": ["x", None, None]})
        frame.to_excel(writer, sheet_name="reviews", index=False)
        frame.to_excel(writer, sheet_name="more", index=False)
    splits, facts = read(path)
    assert splits["train"] == {"text": ["a", "b"], "label": [0, 1]}
    assert (facts.classes, facts.unused) == (("1", "2"), ("note",))
    assert "read sheet 'reviews' of 2; the others are ignored" in facts.notes


def test_a_sheet_of_opendocument_is_read(tmp_path):
    rows = "".join(
        "<table:table-row>"
        + "".join(
            f'<table:table-cell office:value-type="string"><text:p>{value}</text:p></table:table-cell>' for value in row
        )
        + "</table:table-row>"
        for row in (("text", "label"), ("fine", "good"), ("dull", "bad"))
    )
    names = " ".join(
        f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "table", "text")
    )
    with zipfile.ZipFile(tmp_path / "a.ods", "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        manifest = 'xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"'
        archive.writestr("META-INF/manifest.xml", f'<?xml version="1.0"?><manifest:manifest {manifest}/>')
        archive.writestr(
            "content.xml",
            f'<?xml version="1.0"?><office:document-content {names}><office:body><office:spreadsheet>'
            f'<table:table table:name="a">{rows}</table:table></office:spreadsheet></office:body></office:document-content>',
        )
    assert read(tmp_path / "a.ods")[0]["train"] == {"text": ["fine", "dull"], "label": [1, 0]}


def test_a_folder_has_its_splits_by_the_names_of_its_files(tmp_path):
    for name, text in (
        ("train-00000.csv", "a,x\nb,y\n"),
        ("train-00001.csv", "c,x\n"),
        ("dev.csv", "d,x\n"),
        ("test.csv", "e,y\n"),
    ):
        (tmp_path / name).write_text(f"text,label\n{text}")
    (tmp_path / "README.md").write_text("about")
    splits, _ = read(tmp_path)
    assert {name: split["text"] for name, split in splits.items()} == {
        "train": ["a", "b", "c"],
        "validation": ["d"],
        "test": ["e"],
    }


def test_a_folder_without_a_file_for_training_says_how_to_name_it(tmp_path):
    (tmp_path / "reviews.csv").write_text("text,label\na,x\n")
    with pytest.raises(HarnessError, match=r"a folder without a train file; name its files train, validation and test"):
        read(tmp_path)


def test_a_folder_with_two_forms_of_a_split_is_refused(tmp_path):
    for name in ("train.csv", "train.jsonl"):
        (tmp_path / name).write_text("text,label\na,x\n")
    with pytest.raises(HarnessError, match=r"train files in several formats \(train.csv, train.jsonl\)"):
        read(tmp_path)
