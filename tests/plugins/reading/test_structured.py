import json

import pytest

from harness import HarnessError
from harness_plugins.reading.structured import read, read_lines
from harness_plugins.reading.values import word

ROWS = [{"text": "fine", "label": 1}, {"text": "dull", "label": 0}]
SHAPES = {
    "a list": ROWS,
    "under data": {"data": ROWS},
    "under data with more": {"version": 1, "data": ROWS},
    "by column": {"text": ["fine", "dull"], "label": [1, 0]},
    "by column and number, as pandas": {"text": {"0": "fine", "1": "dull"}, "label": {"0": 1, "1": 0}},
    "named by columns, as pandas": {"columns": ["text", "label"], "index": [0, 1], "data": [["fine", 1], ["dull", 0]]},
    "pairs": [["fine", 1], ["dull", 0]],
}


@pytest.mark.parametrize("content", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "with a byte order mark"])
def test_json_in_every_shape_has_the_same_rows(content, mark):
    found = read("a.json", mark + json.dumps(content))
    assert found.columns == {"text": ["fine", "dull"], "label": [1, 0]}


@pytest.mark.parametrize("reader", [read, read_lines])
def test_lines_and_a_list_are_told_apart_by_what_they_are(reader):
    lines = "\n".join(json.dumps(row) for row in ROWS)
    assert (
        reader("a", lines).columns
        == reader("a", json.dumps(ROWS, indent=1)).columns
        == reader("a", json.dumps(ROWS)).columns
    )


def test_a_list_of_one_line_in_a_file_of_lines_is_said():
    assert read_lines("a.jsonl", json.dumps(ROWS)).notes == ("read as JSON, not JSON Lines",)


@pytest.mark.parametrize(
    ("written", "expected"),
    [("2", "2"), ("2.0", "2.0"), ("3.10", "3.10"), ("1234567890123456789", "1234567890123456789"), ("true", "true"), ('"01"', "01"), ("1e3", "1e3")],
)  # fmt: skip
def test_a_value_stays_as_its_file_writes_it_also_beside_a_null(written, expected):
    found = read_lines("a.jsonl", f'{{"x": {written}}}\n{{"x": null}}\n')
    assert word(found.columns["x"][0]) == expected
    assert found.columns["x"][1] is None


def test_a_line_that_is_no_json_is_named():
    with pytest.raises(HarnessError) as error:
        read_lines("a.jsonl", '{"a": 1}\n{"a": 1\n')
    assert str(error.value) == "a.jsonl: line 2 is not JSON (column 8: expecting ',' delimiter)"


def test_a_key_that_some_rows_lack_is_missing_there():
    assert read("a.json", '[{"a": 1}, {"b": 2}]').columns == {"a": [1, None], "b": [None, 2]}


def test_the_message_about_another_shape_stays_short():
    with pytest.raises(HarnessError) as error:
        read("a.json", json.dumps({str(number): number for number in range(20_000)}))
    assert len(str(error.value)) < 250
