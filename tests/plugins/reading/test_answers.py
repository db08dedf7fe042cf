import json
from pathlib import Path
from typing import Any

import pytest

from harness import HarnessError
from harness_plugins.datasets.file import File

CONTEXT = "Bees make honey, and honey feeds bees."
HONEY = [
    {"text": "honey", "answer_start": 10},
    {"text": "honey", "answer_start": 10},
    {"text": "bees", "answer_start": 33},
]


def rows(path: Path, **params: Any) -> dict[str, list[Any]]:
    return File(path=str(path), format="squad", **params).read().splits["train"].to_dict()


def refusal(path: Path, **params: Any) -> str:
    with pytest.raises(HarnessError) as error:
        File(path=str(path), format="squad", **params).read()
    return str(error.value)


def written(folder: Path, content: Any) -> Path:
    path = folder / "questions.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def asked(context: str = CONTEXT, **question: Any) -> dict[str, Any]:
    """Return a file of one question."""
    first = {"question": "What do bees make?", "answers": HONEY, **question}
    return {"data": [{"title": "Bees", "paragraphs": [{"context": context, "qas": [first]}]}]}


def test_the_first_version_has_an_answer_to_every_question(tmp_path):
    assert rows(written(tmp_path, asked())) == {
        "text": ["What do bees make?"],
        "text_pair": [CONTEXT],
        "answers": [["honey", "honey", "bees"]],
        "answer_start": [[10, 10, 33]],
        "group": ["Bees"],
    }


def test_an_impossible_question_has_no_answers_and_plausible_ones_do_not_count(tmp_path):
    read = rows(written(tmp_path, asked(answers=[], is_impossible=True, plausible_answers=HONEY)))
    assert read["answers"] == read["answer_start"] == [[]]


def test_an_article_without_a_title_is_a_group_of_its_own(tmp_path):
    untitled = {"paragraphs": asked()["data"][0]["paragraphs"]}
    content = {"data": [untitled, untitled]}
    assert rows(written(tmp_path, content))["group"] == ["data[0]", "data[1]"]


def test_a_byte_order_mark_is_no_part_of_the_file(tmp_path):
    assert len(rows(written(tmp_path, "\ufeff" + json.dumps(asked())))["text"]) == 1


def test_the_form_is_known_without_being_named(tmp_path):
    dataset = File(path=str(written(tmp_path, {"version": "1.1", **asked()})))
    assert dataset.task_for(watched=False) == "question-answering"
    assert len(dataset.read().splits["train"]) == 1


@pytest.mark.parametrize(
    ("answer", "start", "text", "place"),
    [("honey", 11, "honey", 10), ("honey ", 10, "honey", 10), (" honey", 9, "honey", 10), ("bees", 30, "bees", 33)],
    ids=["one off", "a space after", "a space before", "three off"],
)
def test_an_answer_that_stands_nearby_is_read_where_it_stands_and_counted(tmp_path, answer, start, text, place):
    dataset = File(
        path=str(written(tmp_path, asked(answers=[{"text": answer, "answer_start": start}]))), format="squad"
    )
    read = dataset.read().splits["train"][0]
    assert (read["answers"], read["answer_start"]) == ([text], [place])
    assert dataset.read().facts.notes == (
        "1 answers are not exactly at their offset, or have surrounding spaces; their offsets are corrected",
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (asked(answers=[{"text": "wax", "answer_start": 12}]), "the answer 'wax' is not at character 12 of its context; it does not occur there"),
        (asked(context="honey " + "x" * 60, answers=[{"text": "honey", "answer_start": 50}]), "the answer 'honey' is not at character 50 of its context; it occurs at character 0"),
        (asked(answers=[{"text": "", "answer_start": 0}]), "an answer is empty"),
        (asked(answers=[]), "the question has no answers and is not marked as impossible"),
        (asked(is_impossible=True), "the question is marked as impossible, but has the answer 'honey'"),
        (asked(question=" "), "no text"),
        (asked(context="", answers=[], is_impossible=True), "no text pair"),
    ],
    ids=["nowhere", "far away", "no text", "no answers", "both", "no question", "no context"],
)  # fmt: skip
def test_a_row_that_cannot_be_used_says_why(tmp_path, content, problem):
    path = written(tmp_path, content)
    assert refusal(path).startswith(f"{path}: 1 bad row (first: row 1: {problem})")


@pytest.mark.parametrize(
    "answers",
    [{"text": ["Mara Holt"], "answer_start": [8]}, [{"text": "Mara Holt", "answer_start": 8}], {"text": "Mara Holt", "answer_start": 8}],
    ids=["lists, as datasets has them", "objects", "one"],
)  # fmt: skip
def test_rows_may_have_question_context_and_answers_side_by_side(tmp_path, answers):
    path = tmp_path / "flat.jsonl"
    path.write_text(
        json.dumps({"question": "Who?", "context": "It was, Mara Holt.", "answers": answers}), encoding="utf-8"
    )
    for named in ({}, {"text": "question", "text_pair": "context", "label": "answers"}):
        dataset = File(path=str(path), **named)
        assert dataset.task_for(watched=False) == "question-answering"
        assert dataset.read().splits["train"][0] == {
            "text": "Who?", "text_pair": "It was, Mara Holt.", "answers": ["Mara Holt"], "answer_start": [8]
        }  # fmt: skip


def without(key: str) -> dict[str, Any]:
    """Return a file of one question in which something is missing."""
    return json.loads(json.dumps(asked()).replace(f'"{key}"', '"other"', 1))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"data": [\n}', "not JSON (line 2, column 1: expecting value)"),
        ([1], "not in SQuAD format: the file is not an object"),
        ({"version": "1.1"}, "not in SQuAD format: the file has no 'data'"),
        ({"data": ["x"]}, "not in SQuAD format: data[0] is not an object"),
        (without("paragraphs"), "not in SQuAD format: data[0] has no 'paragraphs'"),
        (without("context"), "not in SQuAD format: data[0].paragraphs[0] has no 'context'"),
        (without("answers"), "not in SQuAD format: data[0].paragraphs[0].qas[0] has no 'answers'"),
        (without("answer_start"), "not in SQuAD format: data[0].paragraphs[0].qas[0].answers[0] has no 'answer_start'"),
        (asked(question=7), "not in SQuAD format: 'question' of data[0].paragraphs[0].qas[0] is not a string"),
        (asked(answers={}), "not in SQuAD format: 'answers' of data[0].paragraphs[0].qas[0] is not a list"),
    ],
    ids=["not JSON", "a list", "no data", "no article", "no paragraphs", "no context", "no answers", "no start", "a number", "no list"],
)  # fmt: skip
def test_a_file_of_another_form_is_refused_with_the_place(tmp_path, content, message):
    path = written(tmp_path, content)
    assert refusal(path) == f"{path}: {message}"


def test_the_published_questions_are_all_fit_for_use(shared_data):
    read = rows(shared_data / "squad" / "dev-v2.0.json")
    assert len(read["text"]) == 6078
    assert sum(not answers for answers in read["answers"]) == 3168
    assert read["text"][0] == "In what country is Normandy located?"
    assert len(set(read["group"])) == 16
