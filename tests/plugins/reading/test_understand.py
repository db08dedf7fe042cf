import json
import subprocess
import sys

import pytest

from harness import HarnessError
from harness_plugins.datasets.file import File


def written(folder, rows, name="a.jsonl"):
    path = folder / name
    if name.endswith(".csv"):
        path.write_text(rows, encoding="utf-8")
    else:
        path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return str(path)


def read(folder, rows, name="a.jsonl", **params):
    dataset = File(path=written(folder, rows, name), **params)
    return dataset.task_for(watched=False), dataset.read().splits["train"].to_dict(), dataset.read().facts


def refusal(folder, rows, name="a.jsonl", **params):
    with pytest.raises(HarnessError) as error:
        read(folder, rows, name, **params)
    message = str(error.value)
    assert "\n" not in message
    assert "{'" not in message
    assert "['" not in message
    return message


def table(*labels, texts=None):
    return "text,label\n" + "".join(
        f"{text},{label}\n" for text, label in zip(texts or (f"text {n}" for n in range(99)), labels, strict=False)
    )


SEVERAL = {
    "lists of names": ([{"text": "a", "label": ["x", "y"]}, {"text": "b", "label": []}, {"text": "c", "label": ["y"]}], {}),
    "a separator": ([{"text": "a", "label": "x, y"}, {"text": "b", "label": ""}, {"text": "c", "label": "y"}], {"label_separator": ","}),
    "lists written as text": ([{"text": "a", "label": "['x', 'y']"}, {"text": "b", "label": "[]"}, {"text": "c", "label": '["y"]'}], {}),
    "lists written as text, and a separator": (
        [{"text": "a", "label": "['x', 'y']"}, {"text": "b", "label": "[]"}, {"text": "c", "label": "['y']"}], {"label_separator": ","}),
    "a column each": ([{"text": "a", "x": 1, "y": 1}, {"text": "b", "x": 0, "y": 0}, {"text": "c", "x": 0, "y": 1}], {"label": "x,y"}),
    "a column of booleans each": (
        [{"text": "a", "x": True, "y": True}, {"text": "b", "x": False, "y": False}, {"text": "c", "x": False, "y": True}], {"label": "x, y"}),
    "lists of 0 and 1": ([{"text": "a", "label": [1, 1]}, {"text": "b", "label": [0, 0]}, {"text": "c", "label": [0, 1]}], {"classes": ("x", "y")}),
    "lists of 0 and 1, and a separator": (
        [{"text": "a", "label": [1, 1]}, {"text": "b", "label": [0, 0]}, {"text": "c", "label": [0, 1]}],
        {"classes": ("x", "y"), "label_separator": ","}),
}  # fmt: skip


@pytest.mark.parametrize(("rows", "params"), SEVERAL.values(), ids=SEVERAL)
def test_several_labels_in_every_form_are_the_same(tmp_path, rows, params):
    task, columns, facts = read(tmp_path, rows, **params)
    assert task == "multi-label-classification"
    assert facts.classes == ("x", "y")
    assert columns == {"text": ["a", "b", "c"], "label": [[1, 1], [0, 0], [0, 1]]}


def test_lists_of_0_and_1_without_names_have_a_class_for_each_place_and_say_so(tmp_path):
    _, _, facts = read(tmp_path, [{"text": "a", "label": [1, 0, 1]}, {"text": "b", "label": [0, 0, 0]}])
    assert facts.classes == ("class 1", "class 2", "class 3")
    assert facts.warnings == ("the classes have no names; name them in order with -o file.classes=[...]",)


def test_columns_of_0_and_1_are_offered_where_no_label_is_found(tmp_path):
    rows = [{"comment": "a", "toxic": 1, "insult": 0}, {"comment": "b", "toxic": 0, "insult": 1}]
    assert refusal(tmp_path, rows, text="comment").endswith(
        "to read columns of 0 and 1 as several labels, use --label toxic,insult"
    )


def test_a_mark_that_is_neither_0_nor_1_is_named(tmp_path):
    rows = [{"text": "a", "x": 1, "y": 0}, {"text": "b", "x": 2, "y": 0}]
    assert "row 2: column 'x' is '2', expected 0 or 1" in refusal(tmp_path, rows, label="x,y")


def test_lists_of_one_label_are_single_labels(tmp_path):
    task, rows, facts = read(tmp_path, [{"text": "a", "label": ["x"]}, {"text": "b", "label": ["y"]}])
    assert (task, rows["label"], facts.notes) == ("text-classification", [0, 1], ("each label is a one-element list",))


@pytest.mark.parametrize(
    ("label", "looks"),
    [({"a": 1}, "an object with the keys 'a'"), ([{"x": 1}], "a list"), ([[1]], "a list")],
    ids=["object", "list of objects", "list of lists"],
)
def test_a_container_is_never_a_label(tmp_path, label, looks):
    message = refusal(tmp_path, [{"text": "a", "label": label}, {"text": "b", "label": label}])
    assert f"column 'label' holds {looks}, not labels" in message


def test_a_container_is_never_a_text(tmp_path):
    message = refusal(tmp_path, [{"text": {"body": "a"}, "label": "x"}, {"text": {"body": "b"}, "label": "y"}])
    assert "column 'text' holds an object with the keys 'body', not text; set another column with --text" in message


def test_a_container_among_texts_is_a_bad_row(tmp_path):
    rows = [{"text": "a", "label": "x"}, {"text": ["b"], "label": "y"}, {"text": "c", "label": "y"}]
    assert "row 2: the text is a list of strings, such as tokens, tags or several labels, not text" in refusal(
        tmp_path, rows
    )


def test_the_mend_of_bad_rows_is_named_only_where_it_does_no_harm(tmp_path):
    few = table(*["x", "y"] * 10, "")
    many = table("x", "y", *[""] * 18)
    assert "-o file.on_bad_rows=skip" in refusal(tmp_path, few, "a.csv")
    assert "on_bad_rows" not in refusal(tmp_path, many, "a.csv")


def test_labels_lose_the_spaces_around_them(tmp_path):
    facts = read(tmp_path, table("pos", " pos", "neg ", "neg"), "a.csv")[2]
    assert facts.classes == ("neg", "pos")
    assert facts.notes == ("2 labels have surrounding spaces, which are removed",)


def test_classes_are_in_one_order_in_every_process(tmp_path):
    path = written(tmp_path, table("10", "9", "x", "01", "1", "1.0", "ä", "B"), "a.csv")
    code = f"from harness_plugins.datasets.file import File; d = File(path={path!r}); print(d.read().facts.classes)"
    told = {subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True).stdout
            for seed in ("0", "1")}  # fmt: skip
    assert told == {"('01', '1', '1.0', '9', '10', 'B', 'x', 'ä')\n"}


DOUBTS = {
    "case": (table("Pos", "pos", "neg"), "labels that may be the same class: 'Pos', 'pos'"),
    "form of a number": (table("1", "1.0", "0"), "labels that may be the same class: '1', '1.0'"),
    "boolean": (table("1", "true", "0"), "labels that may be the same class: '1', 'true'"),
    "scores": (table(*(f"{n / 10}" for n in range(30))), "30 distinct numbers as classes; if they are scores, use -o file.numeric=true"),
    "all different": (table(*(f"row {n}" for n in range(30))), "30 distinct labels in 30 rows; check that this is the label column"),
    "commas": (
        "text,label\n" + "".join(f'text {n},"{label}"\n' for n, label in enumerate(["a,b", "a", "b", "a,c", "c", "b,c"])),
        "labels such as 'a,b' look like several labels; to separate them, use -o file.label_separator=','"),
    "conflicts": (table("x", "y", "x", texts=["same", "Same ", "other"]), "1 text has more than one label"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "doubt"), DOUBTS.values(), ids=DOUBTS)
def test_what_may_be_a_mistake_is_told_in_a_line(tmp_path, text, doubt):
    assert doubt in read(tmp_path, text, "a.csv")[2].warnings


@pytest.mark.parametrize(
    "labels", [["1", "2", "3", "4", "5"] * 4, ["yes", "no"] * 10, [str(n) for n in range(25)] * 10]
)
def test_labels_that_are_plain_classes_raise_no_doubt(tmp_path, labels):
    text = "text,label\n" + "".join(f"text {n},{label}\n" for n, label in enumerate(labels))
    assert read(tmp_path, text, "a.csv")[2].warnings == ()


def test_one_prompt_with_many_answers_is_told(tmp_path):
    rows = [{"text": "a", "answer": "1"}, {"text": "a", "answer": "2"}, {"text": "b", "answer": "3"}]
    assert read(tmp_path, rows, completion="answer")[2].warnings == ("1 prompt has several completions",)


def test_a_decimal_comma_is_named_and_read_when_said(tmp_path):
    text = 'text,label\na,"3,5"\nb,"4,0"\n'
    assert "the label '3,5' is not a number; if it has a decimal comma, use -o file.decimal=," in refusal(
        tmp_path, text, "a.csv", numeric=True
    )
    assert read(tmp_path, text, "a.csv", numeric=True, decimal=",")[1]["label"] == [3.5, 4.0]


@pytest.mark.parametrize("label", ["NaN", "inf", "-Infinity", "1_000", "½", "true"])
def test_what_only_some_parsers_take_for_a_number_is_none(tmp_path, label):
    message = refusal(tmp_path, table("1", label, "2"), "a.csv", numeric=True)
    assert f"the label {label!r} is not a number" in message


def test_a_label_of_the_test_file_is_held_against_those_of_train(tmp_path):
    train = written(tmp_path, table("1", "0", "1"), "train.csv")
    for label, hint in (("1.0", "(train has '1')"), ("pos", "")):
        test = written(tmp_path, table(label), "test.csv")
        with pytest.raises(HarnessError) as error:
            File(path=train, test=test).read()
        assert f"a label that does not occur in train: {label!r}{' ' * bool(hint)}{hint}); fix or remove" in str(
            error.value
        )


def test_names_and_numbers_of_classes_are_told_apart(tmp_path):
    train, test = written(tmp_path, table("good", "bad"), "train.csv"), written(tmp_path, table("1"), "test.csv")
    with pytest.raises(
        HarnessError, match=r"a label that does not occur in train: '1' \(train has names, such as 'bad'\)"
    ):
        File(path=train, test=test).read()
    dataset = File(path=written(tmp_path, table("0", "1", "1"), "train.csv"), classes=("bad", "good"))
    assert dataset.read().splits["train"]["label"][:] == [0, 1, 1]


def test_words_and_tags_may_be_numbers_with_given_names(tmp_path):
    rows = [{"tokens": ["Anna", "left"], "ner_tags": [1, 0]}, {"tokens": ["She"], "ner_tags": [0]}]
    task, columns, facts = read(tmp_path, rows, classes=("O", "B-PER"))
    assert (task, facts.classes, columns["tags"]) == ("token-classification", ("O", "B-PER"), [[1, 0], [0]])
    assert "the tags are numbers; give their names in order" in refusal(tmp_path, rows)


@pytest.mark.parametrize("names", [("tokens", "ner_tags"), ("words", "tags"), ("a", "b")])
def test_lists_of_words_and_tags_are_known_by_what_they_are(tmp_path, names):
    rows = [dict(zip(names, (["Anna", "left"], ["B-PER", "O"]), strict=True))]
    params = {"text": "a", "label": "b"} if names[0] == "a" else {}
    assert read(tmp_path, rows, **params)[0] == "token-classification"


def test_words_without_a_tag_each_are_named(tmp_path):
    good = {"tokens": ["Anna", "left"], "ner_tags": ["B-PER", "O"]}
    assert "row 2: 2 words but 1 tags" in refusal(tmp_path, [good, {"tokens": ["a", "b"], "ner_tags": ["O"]}])


def test_a_text_of_nothing_visible_is_no_text(tmp_path):
    assert "row 2: no text" in refusal(tmp_path, [{"text": "a", "label": "x"}, {"text": "\u200b \ufeff", "label": "y"}])


def test_what_columns_are_for_and_which_are_not_used_is_known(tmp_path):
    _, _, facts = read(
        tmp_path,
        "id,review,stars,part\n1,a,x,train\n2,b,y,train\n",
        "a.csv",
        text="review",
        label="stars",
        split="part",
    )
    assert facts.columns == {"text": ("review",), "label": ("stars",)}
    assert facts.unused == ("id",)


def test_rows_left_out_are_counted_by_reason(tmp_path):
    text = table("x", "y", "", "x", "y", "", "x") + ",\n"
    assert read(tmp_path, text, "a.csv", on_bad_rows="skip")[2].left_out == {"no label": 2, "empty row": 1}


def test_a_column_that_is_there_twice_is_asked_for_by_number(tmp_path):
    text = "text,label,label\na,x,1\nb,y,2\n"
    assert "several columns are named 'label'; give the number of one with --label" in refusal(tmp_path, text, "a.csv")
    assert read(tmp_path, text, "a.csv", label="3")[2].classes == ("1", "2")


def test_named_marks_as_spacy_writes_them_are_labels(tmp_path):
    rows = [{"text": "a", "cats": {"x": 1, "y": 0}}, {"text": "b", "cats": {"x": 0, "y": 1}}]
    task, columns, facts = read(tmp_path, rows)
    assert (task, facts.classes, columns["label"]) == ("text-classification", ("x", "y"), [0, 1])
    several = [*rows, {"text": "c", "cats": {"x": 1.0, "y": 1.0}}, {"text": "d", "cats": {"x": 0, "y": 0}}]
    task, columns, _ = read(tmp_path, several)
    assert (task, columns["label"]) == ("multi-label-classification", [[1, 0], [0, 1], [1, 1], [0, 0]])


def test_prompts_and_completions_of_messages_are_one_talk(tmp_path):
    rows = [{"prompt": [{"role": "user", "content": "1 + 1?"}], "completion": [{"role": "assistant", "content": "2"}]}]
    task, columns, _ = read(tmp_path, rows)
    assert task == "completion"
    assert columns == {"text": ["1 + 1?"], "completion": ["2"], "messages": [[{"role": "user", "content": "1 + 1?"}]]}


@pytest.mark.parametrize(
    "text", ['[{"text": "a", "label": "b"}]', '{"text": "a", "label": "b"}\n{"text": "c", "label": "d"}\n']
)
def test_json_in_a_file_that_says_csv_is_told(tmp_path, text):
    assert "holds JSON; use -o file.format=json" in refusal(tmp_path, text, "a.csv")


def test_a_first_row_that_is_no_header_is_offered_as_data(tmp_path):
    text = "A text that is far too long for the name of a column,good\nAnother one,bad\n"
    message = refusal(tmp_path, text, "a.csv")
    assert message.endswith("if the first row is not a header, use -o file.header=false and give columns by number")
    assert len(message) < 400
    assert read(tmp_path, text, "a.csv", header=False, text="1", label="2")[1]["label"] == [1, 0]
