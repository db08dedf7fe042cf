import json

import pytest

from harness import HarnessError
from harness_plugins.datasets.file import File
from harness_plugins.reading.spans import to_tags

TEXT = "Anna Smith moved to Paris."
TAGS = ["B-PER", "I-PER", "O", "O", "B-LOC", "O"]
PARTS = [[0, 10, "PER"], [20, 25, "LOC"]]
FORMS = {
    "doccano": {"text": TEXT, "label": PARTS},
    "doccano, labels": {"text": TEXT, "labels": PARTS},
    "doccano with relations": {
        "text": TEXT,
        "entities": [{"id": n, "label": label, "start_offset": a, "end_offset": b} for n, (a, b, label) in enumerate(PARTS)],
    },
    "objects": {"text": TEXT, "spans": [{"start": a, "end": b, "label": label} for a, b, label in PARTS]},
    "spaCy": [TEXT, {"entities": PARTS}],
    "Label Studio": {
        "data": {"sentence": TEXT},
        "annotations": [{"result": [{"type": "labels", "value": {"start": a, "end": b, "labels": [label]}} for a, b, label in PARTS]}],
    },
}  # fmt: skip


@pytest.mark.parametrize("row", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("separator", [None, ","])
def test_spans_of_every_tool_are_words_with_tags(tmp_path, row, separator):
    path = tmp_path / "a.json"
    path.write_text(json.dumps([row, row]))
    dataset = File(path=str(path), label_separator=separator)
    assert dataset.task_for(watched=False) == "token-classification"
    first = dataset.read().splits["train"][0]
    assert first["words"] == ["Anna", "Smith", "moved", "to", "Paris", "."]
    assert [dataset.read().facts.classes[tag] for tag in first["tags"]] == TAGS


def test_a_text_without_spans_has_words_that_are_none(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": TEXT, "label": PARTS}) + "\n" + json.dumps({"text": "It rains", "label": []}))
    assert File(path=str(path)).read().splits["train"]["tags"][1] == [0, 0]


def test_a_span_that_ends_within_a_word_cuts_it_there():
    assert to_tags("Berlinreise", [[0, 6, "LOC"]]) == (["Berlin", "reise"], ["B-LOC", "O"], 1, None)


def test_neighbouring_spans_of_a_type_stay_two():
    assert to_tags("a b", [[0, 1, "X"], [2, 3, "X"]])[1] == ["B-X", "B-X"]


def test_scripts_without_spaces_are_read_character_by_character():
    assert to_tags("我在北京", [[2, 4, "LOC"]])[:2] == (["我", "在", "北", "京"], ["O", "O", "B-LOC", "I-LOC"])


@pytest.mark.parametrize(
    ("spans", "problem"),
    [
        ([[0, 99, "PER"]], "the span 0 to 99 (PER) is outside the text of 26 characters"),
        ([[4, 4, "PER"]], "the span 4 to 4 (PER) is outside the text of 26 characters"),
        ([[0, 10, "PER"], [5, 12, "LOC"]], "the span 5 to 12 (LOC) overlaps another"),
    ],
)
def test_a_span_that_cannot_be_is_named(tmp_path, spans, problem):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": TEXT, "label": PARTS}) + "\n" + json.dumps({"text": TEXT, "label": spans}))
    with pytest.raises(HarnessError) as error:
        File(path=str(path)).read()
    assert f"row 2: {problem}" in str(error.value)


@pytest.mark.parametrize(
    ("choices", "task"),
    [([["pos"], ["neg"]], "text-classification"), ([["pos", "long"], ["neg"]], "multi-label-classification")],
)
def test_choices_of_label_studio_are_classes(tmp_path, choices, task):
    rows = [
        {"data": {"text": f"text {n}"}, "annotations": [{"result": [{"value": {"choices": chosen}}]}]}
        for n, chosen in enumerate(choices)
    ]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(rows))
    dataset = File(path=str(path))
    assert dataset.task_for(watched=False) == task
    dataset.read()
    assert set(dataset.read().facts.classes) == {name for chosen in choices for name in chosen}
