import json
from pathlib import Path
from typing import Any

import pytest

from harness import HarnessError
from harness_plugins.datasets._squad import read

CONTEXT = "Bees make honey, and honey feeds bees."
HONEY = [
    {"text": "honey", "answer_start": 10},
    {"text": "honey", "answer_start": 10},
    {"text": "bees", "answer_start": 33},
]


def written(folder: Path, content: Any) -> Path:
    path = folder / "questions.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def asked(context: str = CONTEXT, **question: Any) -> dict[str, Any]:
    """Return a file of one question."""
    first = {"question": "What do bees make?", "answers": HONEY, **question}
    return {"data": [{"title": "Bees", "paragraphs": [{"context": context, "qas": [first]}]}]}


def test_the_first_version_has_an_answer_to_every_question(tmp_path):
    frame = read(written(tmp_path, asked()), "utf-8")
    assert frame.to_dict("records") == [
        {
            "text": "What do bees make?",
            "text_pair": CONTEXT,
            "answers": ["honey", "honey", "bees"],
            "answer_start": [10, 10, 33],
            "group": "Bees",
            "problem": None,
        }
    ]


def test_an_impossible_question_has_no_answers_and_plausible_ones_do_not_count(tmp_path):
    frame = read(written(tmp_path, asked(answers=[], is_impossible=True, plausible_answers=HONEY)), "utf-8")
    assert frame["answers"][0] == frame["answer_start"][0] == []
    assert frame["problem"][0] is None


def test_an_article_without_a_title_is_a_group_of_its_own(tmp_path):
    untitled = {"paragraphs": asked()["data"][0]["paragraphs"]}
    content = {"data": [untitled, untitled]}
    assert read(written(tmp_path, content), "utf-8")["group"].tolist() == ["data[0]", "data[1]"]


def test_a_byte_order_mark_is_no_part_of_the_file(tmp_path):
    assert len(read(written(tmp_path, "\ufeff" + json.dumps(asked())), "utf-8")) == 1


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (asked(answers=[HONEY[0], {"text": "honey", "answer_start": 12}]), "the answer 'honey' does not stand at character 12 of its context"),
        (asked(answers=[{"text": ".", "answer_start": -1}]), "the answer '.' does not stand at character -1 of its context"),
        (asked(answers=[{"text": "", "answer_start": 0}]), "an answer is empty"),
        (asked(answers=[]), "the question has no answers and is not marked as impossible"),
        (asked(is_impossible=True), "the question is marked as impossible, but has the answer 'honey'"),
        (asked(question=" "), "the question is empty"),
        (asked(context=""), "the context is empty"),
    ],
    ids=["elsewhere", "before the start", "no text", "no answers", "both", "no question", "no context"],
)  # fmt: skip
def test_a_row_that_cannot_be_used_says_why(tmp_path, content, problem):
    assert read(written(tmp_path, content), "utf-8")["problem"].tolist() == [problem]


def without(key: str) -> dict[str, Any]:
    """Return a file of one question in which something is missing."""
    return json.loads(json.dumps(asked()).replace(f'"{key}"', '"other"', 1))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"data": [\n}', "not JSON (line 2, column 1: expecting value)"),
        ([1], "not in the form of SQuAD: the file is not an object"),
        ({"version": "1.1"}, "not in the form of SQuAD: the file has no 'data'"),
        ({"data": ["x"]}, "not in the form of SQuAD: data[0] is not an object"),
        (without("paragraphs"), "not in the form of SQuAD: data[0] has no 'paragraphs'"),
        (without("context"), "not in the form of SQuAD: data[0].paragraphs[0] has no 'context'"),
        (without("answers"), "not in the form of SQuAD: data[0].paragraphs[0].qas[0] has no 'answers'"),
        (without("answer_start"), "not in the form of SQuAD: data[0].paragraphs[0].qas[0].answers[0] has no 'answer_start'"),
        (asked(question=7), "not in the form of SQuAD: 'question' of data[0].paragraphs[0].qas[0] is not a text"),
        (asked(answers={}), "not in the form of SQuAD: 'answers' of data[0].paragraphs[0].qas[0] is not a list"),
    ],
    ids=["not JSON", "a list", "no data", "no article", "no paragraphs", "no context", "no answers", "no start", "a number", "no list"],
)  # fmt: skip
def test_a_file_of_another_form_is_refused_with_the_place(tmp_path, content, message):
    path = written(tmp_path, content)
    with pytest.raises(HarnessError) as error:
        read(path, "utf-8")
    assert str(error.value) == f"{path}: {message}"


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("utf-8", "not UTF-8 (line 2): save it as UTF-8, or name its encoding with -o file.encoding=latin-1"),
        ("latin-1000", "there is no encoding 'latin-1000': name one that Python knows, such as latin-1"),
    ],
)
def test_a_file_in_another_encoding_is_refused(tmp_path, encoding, message):
    path = tmp_path / "questions.json"
    path.write_bytes('{"data":\n"é"}'.encode("latin-1"))
    with pytest.raises(HarnessError) as error:
        read(path, encoding)
    assert str(error.value) == f"{path}: {message}"


def test_the_published_questions_are_all_fit_for_use(shared_data):
    frame = read(shared_data / "squad" / "dev-v2.0.json", "utf-8")
    assert len(frame) == 6078
    assert sum(not answers for answers in frame["answers"]) == 3168
    assert frame["problem"].isna().all()
    assert frame["text"][0] == "In what country is Normandy located?"
    assert frame["group"].nunique() == 16
