import json

import pytest

from harness import HarnessError
from harness_plugins.datasets.file import File

TALK = [
    {"role": "system", "content": "You add."},
    {"role": "user", "content": "1 + 1?"},
    {"role": "assistant", "content": "2"},
    {"role": "user", "content": "And 1?"},
    {"role": "assistant", "content": "3"},
]


def read(folder, *rows, **params):
    path = folder / "a.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    dataset = File(path=str(path), **params)
    return dataset.task_for(watched=False), dataset.read().splits["train"].to_dict(), dataset.read().facts


def refusal(folder, *rows, **params):
    with pytest.raises(HarnessError) as error:
        read(folder, *rows, **params)
    message = str(error.value)
    assert "\n" not in message
    assert "{'" not in message
    assert "['" not in message
    return message


@pytest.mark.parametrize(
    ("row", "params"),
    [
        ({"messages": TALK}, {}),
        ({"conversations": [{"from": {"user": "human", "assistant": "gpt"}.get(turn["role"], "system"), "value": turn["content"]} for turn in TALK]}, {}),
        ({"talk": TALK}, {"text": "talk"}),
        ({"messages": [*TALK, {"role": "user", "content": "Thanks."}]}, {}),
    ],
    ids=["messages", "ShareGPT", "another name", "an end that nobody answered"],
)  # fmt: skip
def test_a_talk_is_a_prompt_of_turns_and_its_last_answer(tmp_path, row, params):
    task, rows, _ = read(tmp_path, row, **params)
    assert task == "completion"
    assert rows["messages"] == [TALK[:-1]]
    assert rows["completion"] == ["3"]
    assert rows["text"] == ["system: You add.\nuser: 1 + 1?\nassistant: 2\nuser: And 1?"]


@pytest.mark.parametrize(
    ("turns", "problem"),
    [
        ([{"role": "user", "content": "Hello?"}], "no answer from the assistant"),
        ([{"role": "assistant", "content": "Hello!"}], "no user message before the answer"),
        (
            [{"role": "tool", "content": "7"}, *TALK],
            "a message has the role 'tool'; supported are system, user and assistant",
        ),
        ([{"role": "user", "content": None}, TALK[2]], "a message of the user has no text"),
    ],
)
def test_a_talk_that_cannot_be_learned_is_named(tmp_path, turns, problem):
    assert f"1 bad row (first: row 2: {problem}" in refusal(tmp_path, {"messages": TALK}, {"messages": turns})


def test_messages_named_as_a_prompt_and_its_completion_are_refused(tmp_path):
    message = refusal(tmp_path, {"messages": TALK}, text="messages", completion="messages")
    assert "looks like chat messages" in message or "look like chat messages" in message
    assert "use only --text messages" in message


def test_instruction_and_input_are_one_prompt(tmp_path):
    rows = [
        {"instruction": "Add.", "input": "1 and 2", "output": "3"},
        {"instruction": "Say hello.", "input": "", "output": "Hello"},
    ]
    for params in (
        {},
        {"text": "instruction", "completion": "output"},
        {"prompt": r"{instruction}\n{input}", "completion": "output"},
    ):
        task, read_rows, facts = read(tmp_path, *rows, **params)
        assert task == "completion"
        assert read_rows == {"text": ["Add.\n1 and 2", "Say hello."], "completion": ["3", "Hello"]}
        assert facts.columns["text"] == ("instruction", "input")
        assert r"the text is built from columns: '{instruction}\n{input}'" in facts.notes


def test_a_prompt_of_columns_serves_any_task(tmp_path):
    task, rows, _ = read(
        tmp_path,
        {"title": "A", "body": "b", "label": "x"},
        {"title": "C", "body": "d", "label": "y"},
        prompt="{title}: {body}",
    )
    assert task == "text-classification"
    assert rows == {"text": ["A: b", "C: d"], "label": [0, 1]}


def test_a_prompt_that_names_no_column_is_refused(tmp_path):
    assert "unknown column 'tilte': did you mean 'title'?" in refusal(
        tmp_path, {"title": "A", "label": "x"}, prompt="{tilte}"
    )
    assert "no column name in braces" in refusal(tmp_path, {"title": "A", "label": "x"}, prompt="title")
    assert "write column names in braces" in refusal(tmp_path, {"title": "A", "label": "x"}, prompt="{title")


def test_prompt_and_completion_need_no_names(tmp_path):
    assert read(tmp_path, {"prompt": "1 + 1?", "completion": 2})[1] == {"text": ["1 + 1?"], "completion": ["2"]}


def test_numbers_to_be_written_stay_as_their_file_has_them(tmp_path):
    rows = [{"text": "a", "answer": 4}, {"text": "b", "answer": 3.5}, {"text": "c", "answer": None}]
    assert read(tmp_path, *rows, completion="answer", on_bad_rows="skip")[1]["completion"] == ["4", "3.5"]


def test_an_object_to_be_written_is_refused_and_says_what_it_is(tmp_path):
    message = refusal(tmp_path, {"text": "a", "out": {"name": "Ann", "paid": True}}, completion="out")
    assert (
        "the completion is an object with the keys 'name', 'paid', not text; to generate JSON, store it as a JSON string"
        in message
    )


def test_preference_pairs_are_refused_by_name(tmp_path):
    message = refusal(tmp_path, {"prompt": "a", "chosen": "b", "rejected": "c"})
    assert "preference pairs ('chosen', 'rejected') are not supported" in message
    assert "--text prompt -o file.completion=chosen" in message
    assert (
        read(tmp_path, {"prompt": "a", "chosen": "b", "rejected": "c"}, text="prompt", completion="chosen")[0]
        == "completion"
    )
