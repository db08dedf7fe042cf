"""Rows to predict: the same file forms, without the labels."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness import HarnessError, Unlabelled
from harness.contracts import Dataset


def read(catalog, path: Path, columns: dict[str, tuple[str, ...]], **params: Any) -> Unlabelled:
    data = catalog.make(Dataset, "file", {"path": str(path), **params})
    return data.unlabelled(str(path), columns)


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_rows_keep_their_columns_and_the_text_is_found_by_the_name_it_had(catalog, tmp_path):
    path = tmp_path / "new.csv"
    path.write_text("id;Nachricht\n007;Wo ist sie?\n008;\n", encoding="utf-8")
    found = read(catalog, path, {"text": ("Nachricht",)}, text="Nachricht")
    assert found.rows[0]["id"] == "007"
    assert found.columns["text"][0] == "Wo ist sie?"
    assert found.problems == [None, "no text"]


def test_a_pair_and_a_question_with_its_passage_have_both(catalog, tmp_path):
    path = lines(tmp_path / "new.jsonl", {"question": "who?", "context": "she did"})
    found = read(catalog, path, {"text": ("question",), "text_pair": ("context",), "answers": ("answers",)})
    assert found.columns == {"text": ["who?"], "text_pair": ["she did"]}


def test_a_text_made_of_columns_is_made_so_again(catalog, tmp_path):
    path = lines(tmp_path / "new.jsonl", {"title": "A", "body": "b"})
    found = read(catalog, path, {"text": ("title", "body")}, prompt="{title}: {body}")
    assert found.columns == {"text": ["A: b"]}


def test_an_instruction_and_its_input_are_one_prompt(catalog, tmp_path):
    path = lines(tmp_path / "new.jsonl", {"instruction": "Add.", "input": "1 2"})
    found = read(catalog, path, {"text": ("instruction", "input"), "completion": ("output",)})
    assert found.columns == {"text": ["Add.\n1 2"]}


def test_words_stay_words(catalog, tmp_path):
    path = lines(tmp_path / "new.jsonl", {"tokens": ["Ann", "ran"]}, {"tokens": []})
    found = read(catalog, path, {"text": ("tokens",), "label": ("ner_tags",)})
    assert found.columns["words"] == [["Ann", "ran"], []]
    assert found.problems == [None, "no words"]


def test_a_talk_ends_with_the_question_that_is_to_be_answered(catalog, tmp_path):
    talk = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "ho"},
        {"role": "user", "content": "who?"},
    ]
    found = read(catalog, lines(tmp_path / "new.jsonl", {"messages": talk}), {"messages": ("messages",)})
    assert found.columns["messages"] == [talk]
    assert found.rows[0]["messages"] == talk
    assert "completion" not in found.columns


def test_a_column_that_is_not_there_is_named(catalog, tmp_path):
    path = lines(tmp_path / "new.jsonl", {"message": "hi"})
    with pytest.raises(HarnessError, match=r"unknown column .text.: .* set the column with --text"):
        read(catalog, path, {"text": ("text",)})
