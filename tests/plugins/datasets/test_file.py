import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness import HarnessError
from harness.contracts import Dataset, Task
from harness.engine.cache import Cache
from harness.engine.data import check_problem, prepare
from harness.records import TaskData, digest
from harness_plugins.datasets.file import _BY_SUFFIX, File

ROWS = [("a fine film, really", "good"), ('a "dull" plot', "bad"), ("čeština ☺", "good"), ("NA", "null")]
FRAME = pd.DataFrame(ROWS, columns=["text", "label"])


def written(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def saved(folder: Path, suffix: str, frame: pd.DataFrame = FRAME) -> str:
    path = folder / f"reviews{suffix}"
    match suffix:
        case ".csv":
            frame.to_csv(path, index=False)
        case ".tsv":
            frame.to_csv(path, index=False, sep="\t")
        case ".jsonl":
            frame.to_json(path, orient="records", lines=True, force_ascii=False)
        case _:
            frame.to_parquet(path)
    return str(path)


def rows(dataset: File) -> dict[str, dict[str, list[Any]]]:
    return {
        name: {column: split[column][:] for column in split.column_names}
        for name, split in dataset.read().splits.items()
    }


def refusal(**params: Any) -> str:
    """Return the message that reading ends in."""
    with pytest.raises(HarnessError) as error:
        File(**params).read()
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet", ".CSV"])
def test_every_format_reads_alike(tmp_path, suffix):
    path = Path(saved(tmp_path, suffix.lower()))
    dataset = File(path=str(path.rename(path.with_suffix(suffix))))
    assert rows(dataset) == {"train": {"text": [text for text, _ in ROWS], "label": [1, 0, 1, 2]}}
    assert dataset.read().facts.classes == ("bad", "good", "null")


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_text("text,label\nfine,1\ndull,0\n", encoding="utf-8-sig")
    assert rows(File(path=str(path)))["train"]["text"] == ["fine", "dull"]


def test_two_columns_make_a_pair(tmp_path):
    path = written(tmp_path / "pairs.csv", "text,other,label\nit rains,it is wet,yes\nit snows,it is hot,no\n")
    assert rows(File(path=path, text_pair="other"))["train"] == {
        "text": ["it rains", "it snows"],
        "text_pair": ["it is wet", "it is hot"],
        "label": [1, 0],
    }


def test_columns_may_have_names_of_their_own(tmp_path):
    path = written(tmp_path / "reviews.csv", "review,stars\nfine,5\ndull,1\n")
    assert rows(File(path=path, text="review", label="stars"))["train"] == {"text": ["fine", "dull"], "label": [1, 0]}


def test_texts_may_have_no_label(tmp_path):
    path = written(tmp_path / "prose.csv", "text\none\ntwo\n")
    dataset = File(path=path, label=None)
    assert rows(dataset) == {"train": {"text": ["one", "two"]}}
    assert dataset.read().facts.classes is None


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_numeric_labels_sort_by_value(tmp_path, suffix):
    frame = pd.DataFrame({"text": ["a", "b", "c", "d"], "label": [10, 9, -1, 100]})
    dataset = File(path=saved(tmp_path, suffix, frame))
    assert rows(dataset)["train"]["label"] == [2, 1, 0, 3]
    assert dataset.read().facts.classes == ("-1", "9", "10", "100")


def test_given_classes_number_the_labels_and_may_name_one_that_does_not_occur(tmp_path):
    path = written(tmp_path / "reviews.csv", "text,label\none,poor\ntwo,great\n")
    dataset = File(path=path, classes=("poor", "fair", "great"))
    assert rows(dataset)["train"]["label"] == [0, 2]
    assert dataset.read().facts.classes == ("poor", "fair", "great")


def test_splits_may_be_files_of_their_own_and_of_other_formats(tmp_path):
    dataset = File(
        path=saved(tmp_path, ".csv"),
        validation=written(tmp_path / "dev.tsv", "label\ttext\nbad\tso so\n"),
        test=written(tmp_path / "test.jsonl", '{"text": "well", "label": "good"}\n'),
    )
    read = rows(dataset)
    assert list(read) == ["train", "validation", "test"]
    assert read["validation"] == {"text": ["so so"], "label": [0]}
    assert read["test"] == {"text": ["well"], "label": [1]}


def test_a_column_may_say_the_split(tmp_path):
    path = written(tmp_path / "all.csv", "text,label,part\na,x,test\nb,x,train\nc,y,train\nd,y,test\n")
    assert rows(File(path=path, split="part")) == {
        "train": {"text": ["b", "c"], "label": [0, 1]},
        "test": {"text": ["a", "d"], "label": [0, 1]},
    }


BAD = {
    "empty file": ("reviews.csv", "", "the file is empty"),
    "empty lines of JSON": ("reviews.jsonl", "", "the file is empty"),
    "header only": ("reviews.csv", "text,label\n", "the file has no rows"),
    "misspelt text column": (
        "reviews.csv",
        "texts,label\na,b\n",
        "unknown column 'text': did you mean 'texts'?; the columns are texts, label; set the column with --text",
    ),
    "other label column": (
        "reviews.csv",
        "text,stars\na,b\n",
        "unknown column 'label': choose one of: stars, text; set the column with --label",
    ),
    "blank label": (
        "reviews.csv",
        "text,label\na,x\nb,\nc, \n",
        "2 bad rows (first: row 2: no label); fix or remove them, or skip them with -o file.on_bad_rows=skip",
    ),
    "blank text": (
        "reviews.tsv",
        "text\tlabel\n  \tx\n",
        "1 bad row (first: row 1: no text); fix or remove them, or skip them with -o file.on_bad_rows=skip",
    ),
    "null label in JSON": (
        "reviews.jsonl",
        '{"text": "a", "label": "x"}\n{"text": "b", "label": null}\n',
        "1 bad row (first: row 2: no label); fix or remove them, or skip them with -o file.on_bad_rows=skip",
    ),
    "unknown suffix": (
        "reviews.dat",
        "text,label\na,b\n",
        f"unknown file extension '.dat'; rename it to one of {', '.join(_BY_SUFFIX)}, or set its format, such as -o file.format=csv",
    ),
    "unknown suffix of tagged words": (
        "names.bio",
        "Anna B-PER\nleft O\n\nShe O\nsaw O\n",
        "unknown file extension '.bio'; it looks like words and tags in columns: use -o file.format=conll",
    ),
}


@pytest.mark.parametrize(("name", "text", "reason"), BAD.values(), ids=BAD)
def test_a_file_that_cannot_be_used_is_refused_with_its_name_and_the_mend(tmp_path, name, text, reason):
    path = written(tmp_path / name, text)
    assert refusal(path=path) == f"{path}: {reason}"


def test_a_column_that_only_an_option_can_name_is_mended_by_that_option(tmp_path):
    path = saved(tmp_path, ".csv")
    assert refusal(path=path, text_pair="lable") == (
        f"{path}: unknown column 'lable': did you mean 'label'?; the columns are text, label; "
        "set the column with -o file.text_pair=COLUMN"
    )


@pytest.mark.parametrize("call", ["read", "fingerprint"])
def test_a_missing_file_is_named(tmp_path, call):
    path = str(tmp_path / "none.csv")
    with pytest.raises(HarnessError) as error:
        getattr(File(path=path), call)()
    assert str(error.value) == f"no data file {path!r}"


@pytest.mark.parametrize(
    ("name", "text", "line", "shown"),
    [
        ("reviews.csv", "text,label\ncafé,x\n", 2, "café,x"),
        ("reviews.jsonl", '{"text": "café", "label": "x"}\n', 1, '{"text": "café", "label": "x"}'),
    ],
    ids=["csv", "jsonl"],
)
def test_a_file_that_is_not_utf8_is_refused_with_the_line_and_the_encoding_it_looks_like(
    tmp_path, name, text, line, shown
):
    path = tmp_path / name
    path.write_bytes(text.encode("latin-1"))
    assert (
        refusal(path=str(path))
        == f"{path}: not UTF-8 (line {line}); it looks like cp1252 (a line would read {shown!r}): if that is right, "
        "use -o file.encoding=cp1252, or save the file as UTF-8"
    )


def test_rows_with_more_values_than_there_are_columns_are_refused_and_not_shifted(tmp_path):
    # A comma in every text, and no quotes: the text's second half must not pass for the label.
    path = written(tmp_path / "reviews.csv", "text,label\nfine, really,good\ndull, sadly,bad\n")
    assert refusal(path=path).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("reviews.jsonl", "line 1 is not JSON (column 1: expecting value)"),
        ("reviews.parquet", "not a Parquet file, or damaged"),
        ("reviews.xlsx", "not a readable spreadsheet"),
        ("ragged.csv", "row 2 has 4 values, but the header has 2 columns; put quotes around values that contain ','"),
    ],
)
def test_a_file_that_is_not_what_its_ending_says_is_refused(tmp_path, name, message):
    path = written(tmp_path / name, "text,label\na,b\nc,d,e,f\n")
    assert refusal(path=path).startswith(f"{path}: {message}")


def test_labels_of_the_test_file_that_train_lacks_are_named(tmp_path):
    train = written(tmp_path / "train.csv", "text,label\na,x\nb,y\n")
    test = written(tmp_path / "test.csv", "text,label\nc,x\nd,z\ne,w\n")
    assert refusal(path=train, test=test) == (
        f"{test}: 2 bad rows (first: row 2: a label that does not occur in train: 'z'); "
        "fix or remove them, or skip them with -o file.on_bad_rows=skip"
    )


def test_an_unknown_word_in_the_split_column_is_named(tmp_path):
    path = written(tmp_path / "all.csv", "text,label,part\na,x,train\nb,y,dev\n")
    assert (
        refusal(path=path, split="part")
        == f"{path}: column 'part' holds 'dev' (write 'validation'); allowed are train, validation, test"
    )


def test_a_split_column_and_a_file_for_testing_contradict_each_other(tmp_path):
    path = written(tmp_path / "all.csv", "text,label,part\na,x,train\nb,y,train\nc,x,test\n")
    test = written(tmp_path / "test.csv", "text,label,part\nd,y,test\n")
    message = refusal(path=path, split="part", test=test)
    assert "'part'" in message
    assert message.startswith(path)


def test_a_label_outside_the_given_classes_is_named(tmp_path):
    path = written(tmp_path / "reviews.csv", "text,label\na,x\nb,y\n")
    assert refusal(path=path, classes=("x", "z")) == (
        f"{path}: 1 bad row (first: row 2: a label that is not among the given classes: 'y'); "
        "fix or remove them, or skip them with -o file.on_bad_rows=skip"
    )


def test_bad_rows_are_left_out_on_request_and_counted_in_a_note(tmp_path):
    path = written(tmp_path / "a.csv", "text,label\nfine,x\n,y\ndull,y\nodd,\n")
    dataset = File(path=path, on_bad_rows="skip")
    assert rows(dataset)["train"] == {"text": ["fine", "dull"], "label": [0, 1]}
    assert dataset.read().facts.notes == ("train: skipped 2 bad rows (first: row 2: no text)",)


def test_a_file_of_bad_rows_alone_is_refused_even_so(tmp_path):
    path = written(tmp_path / "a.csv", "text,label\n,y\n")
    assert refusal(path=path, on_bad_rows="skip").startswith(f"{path}: 1 bad row (first: row 1: no text)")


def test_a_split_may_have_several_files_and_a_bad_row_is_named_by_its_own(tmp_path):
    first = written(tmp_path / "a.csv", "text,label\nfine,x\n")
    second = written(tmp_path / "b.csv", "text,label\ndull,y\n")
    assert rows(File(path=(first, second)))["train"] == {"text": ["fine", "dull"], "label": [0, 1]}
    broken = written(tmp_path / "c.csv", "text,label\n,x\n")
    assert refusal(path=(first, broken)).startswith(f"{broken}: 1 bad row (first: row 1: no text)")


def test_a_column_may_be_given_by_its_number(tmp_path):
    path = written(tmp_path / "a.csv", "id,review,stars\n7,fine,5\n8,dull,1\n")
    assert rows(File(path=path, text=2, label="3"))["train"] == {"text": ["fine", "dull"], "label": [1, 0]}


def test_several_labels_of_a_text_become_a_mark_for_each_class(tmp_path):
    path = written(tmp_path / "a.csv", "text,label\nfine,b|a\ndull,\nodd,c\n")
    dataset = File(path=path, label_separator="|")
    assert rows(dataset)["train"]["label"] == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert dataset.read().facts.classes == ("a", "b", "c")
    assert dataset.task_for(watched=False) == "multi-label-classification"


def test_a_prompt_needs_its_completion(tmp_path):
    path = written(tmp_path / "a.csv", "text,answer\n1 + 1?,2\n2 + 2?,\n")
    assert "row 2: no completion" in refusal(path=path, completion="answer")
    dataset = File(path=path, completion="answer", on_bad_rows="skip")
    assert rows(dataset)["train"] == {"text": ["1 + 1?"], "completion": ["2"]}
    assert dataset.task_for(watched=False) == "completion"


def test_words_and_their_tags_are_read_from_columns_by_number(tmp_path):
    path = written(tmp_path / "a.conll", "1 Anna B-per\n2 left O\n\n1 They O\n2 B-per saw\n")
    assert "row 2" in refusal(path=path, text=2)
    dataset = File(path=path, text=2, on_bad_rows="skip")
    assert rows(dataset)["train"] == {"text": ["Anna left"], "words": [["Anna", "left"]], "tags": [[1, 0]]}
    assert dataset.read().facts.classes == ("O", "B-per")


def test_questions_keep_with_those_of_their_article_where_a_split_is_carved(tmp_path):
    def asked(title: str) -> dict[str, Any]:
        answers = [{"text": title, "answer_start": 0}]
        qas = [{"id": f"{title}{n}", "question": f"{title} {n}?", "answers": answers} for n in range(5)]
        return {"title": title, "paragraphs": [{"context": f"{title} is here.", "qas": qas}]}

    path = written(tmp_path / "a.json", json.dumps({"version": "1.1", "data": [asked(f"T{n}") for n in range(10)]}))
    dataset = File(path=path, format="squad")
    splits = prepare(dataset, dataset.reference(), Cache(tmp_path / "cache"), seed=0).splits
    titles = {name: set(split["group"][:]) for name, split in splits.items()}
    assert not titles["train"] & titles["test"]
    assert sum(len(split) for split in splits.values()) == 50


def test_one_class_alone_is_no_problem_to_tune_on(catalog, tmp_path):
    lines = "".join(f"text {number},same\n" for number in range(40))
    dataset = catalog.make(Dataset, "file", {"path": written(tmp_path / "reviews.csv", f"text,label\n{lines}")})
    task = catalog.make(Task, "text-classification", {})
    problem = TaskData(dataset=dataset.reference(), task=task.reference())
    with pytest.raises(HarnessError) as error:
        check_problem(problem, task, prepare(dataset, problem.dataset, Cache(tmp_path / "cache"), seed=0))
    assert str(error.value) == (
        "dataset 'file' does not fit task 'text-classification': "
        "needs at least two classes, but the data has only 'same'"
    )


def test_the_fingerprint_follows_the_content_and_not_the_path(tmp_path):
    first, copy, other = (
        File(path=written(tmp_path / name, text)).fingerprint()
        for name, text in [
            ("a.csv", "text,label\na,x\n"),
            ("b.csv", "text,label\na,x\n"),
            ("c.csv", "text,label\na,y\n"),
        ]
    )
    assert first == copy
    assert first != other


def test_the_path_is_where_the_data_is_and_not_what_it_is(tmp_path):
    path = saved(tmp_path, ".csv")
    reference = File(path=path).reference()
    assert reference.location == {"path": path, "validation": None, "test": None}
    assert not {"path", "validation", "test"} & set(reference.params)


def test_a_file_for_testing_is_another_dataset_than_the_same_file_for_validation(tmp_path):
    train = written(tmp_path / "train.csv", "text,label\na,x\nb,y\n")
    more = written(tmp_path / "more.csv", "text,label\nc,x\nd,y\n")
    identities = [
        digest(dataset.reference().model_dump(mode="json", exclude={"location"}))
        for dataset in (File(path=train, test=more), File(path=train, validation=more))
    ]
    assert identities[0] != identities[1]


def test_json_has_pairs_for_each_split_and_parts_of_a_split_are_joined(tmp_path):
    text = '{"train": [["hello", "greet"], ["pay", "bill"]], "val": [["hi", "greet"]], "oos_train": [["moo", "oos"]], '
    dataset = File(path=written(tmp_path / "intents.json", text + '"test": [["owe", "bill"]]}'))
    assert rows(dataset) == {
        "train": {"text": ["hello", "pay", "moo"], "label": [1, 0, 2]},
        "validation": {"text": ["hi"], "label": [1]},
        "test": {"text": ["owe"], "label": [0]},
    }
    assert dataset.read().facts.classes == ("bill", "greet", "oos")


def test_json_may_be_a_list_of_objects(tmp_path):
    path = written(tmp_path / "a.json", '[{"text": "fine", "label": 1}, {"text": "dull", "label": 0}]')
    assert rows(File(path=path))["train"] == {"text": ["fine", "dull"], "label": [1, 0]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"rest": 3}',
            "expected a list of rows, or an object with rows under 'data', values by column, or rows by split",
        ),
        ('{"train": [["a", "b"], ["c"]]}', "row 2 is neither an object nor a pair"),
        ('{"train": 3}', "expected a list of rows"),
        ("3", "or rows by split (train, validation, test), but found a single value"),
        ("{", "not JSON (line 1, column 2: "),
    ],
)
def test_json_of_another_shape_is_refused(tmp_path, text, message):
    assert message in refusal(path=written(tmp_path / "a.json", text))


def test_lines_have_a_label_a_space_and_a_text(tmp_path):
    path = written(tmp_path / "train.lines", "0 one long string .\n1 caf\u00e9 noir\n")
    Path(path).write_bytes(Path(path).read_text(encoding="utf-8").encode("latin-1"))
    dataset = File(path=path, format="lines", encoding="latin-1")
    assert rows(dataset)["train"] == {"text": ["one long string .", "caf\u00e9 noir"], "label": [0, 1]}
    assert "unknown file extension" in refusal(path=path, encoding="latin-1")
    assert "not UTF-8 (line 2)" in refusal(path=path, format="lines")
    assert "unknown encoding 'latin-99'" in refusal(path=path, format="lines", encoding="latin-99")


def test_a_line_without_a_text_is_named(tmp_path):
    assert "line 2 does not have the form 'label text'" in refusal(
        path=written(tmp_path / "a", "0 a\n1\n"), format="lines"
    )


def test_plain_text_is_paragraphs_without_labels(tmp_path):
    path = written(tmp_path / "prose.txt", "\n A heading \n\nFirst line\nsecond line.\n \nThe end.\n")
    assert rows(File(path=path))["train"] == {"text": ["A heading", "First line second line.", "The end."]}


def test_columns_without_a_header_are_numbered_and_quotes_are_left_alone(tmp_path):
    path = written(tmp_path / "a.csv", 'x\t2.5\ta "b\tc\ny\t3\td\te"\n')
    dataset = File(
        path=path, format="tsv", header=False, quoted=False, text="3", text_pair="4", label="2", numeric=True
    )
    assert rows(dataset)["train"] == {"text": ['a "b', "d"], "text_pair": ["c", 'e"'], "label": [2.5, 3.0]}
    assert dataset.read().facts.classes is None


def test_a_label_that_is_no_number_is_named_with_its_row(tmp_path):
    message = refusal(path=written(tmp_path / "a.csv", "text,label\na,1\nb,two\nc,\u00bd\n"), numeric=True)
    assert "2 bad rows (first: row 2: the label 'two' is not a number)" in message


REAL = {
    "banking77": ({"path": "train.csv", "test": "test.csv", "label": "category"}, {"train": 10003, "test": 3080}, 77),
    "clinc150": ({"path": "data_full.json"}, {"train": 15100, "validation": 3100, "test": 5500}, 151),
    "sst2": (
        {"path": "stsa.binary.train", "validation": "stsa.binary.dev", "test": "stsa.binary.test", "format": "lines"},
        {"train": 6920, "validation": 872, "test": 1821},
        2,
    ),
    "stsb": (
        {"path": "sts-train.csv", "validation": "sts-dev.csv", "test": "sts-test.csv", "format": "tsv", "header": False,
         "quoted": False, "text": "6", "text_pair": "7", "label": "5", "numeric": True},
        {"train": 5749, "validation": 1500, "test": 1379},
        None,
    ),
    "gsm8k": (
        {"path": "train.jsonl", "test": "test.jsonl", "text": "question", "completion": "answer"},
        {"train": 7473, "test": 1319},
        None,
    ),
    "squad": ({"path": "dev-v2.0.json", "format": "squad"}, {"train": 6078}, None),
    "wnut17": (
        {"path": "wnut17train.conll", "validation": "emerging.dev.conll", "test": "emerging.test.annotated", "format": "conll",
         "on_bad_rows": "skip"},
        {"train": 3394, "validation": 1009, "test": 1287},
        13,
    ),
    "wikitext2": ({"path": "valid.txt", "test": "test.txt"}, {"train": 1160, "test": 1320}, None),
}  # fmt: skip


@pytest.mark.parametrize("name", REAL)
def test_real_files_of_every_form_are_read_whole(shared_data, name):
    params, sizes, classes = REAL[name]
    files = {key: str(shared_data / name / params[key]) for key in ("path", "validation", "test") if key in params}
    dataset = File(**{**params, **files})
    splits = dataset.read().splits
    assert {split: len(found) for split, found in splits.items()} == sizes
    assert (dataset.read().facts.classes is None) == (classes is None)
    assert len(dataset.read().facts.classes or ()) == (classes or 0)


def test_numbers_of_a_column_in_which_some_are_missing_are_whole_all_the_same(tmp_path):
    lines = [
        '{"text": "fine", "label": 1, "doc": 7}',
        '{"text": "dull", "label": 0, "doc": 8}',
        '{"text": "odd", "label": null, "doc": 9}',
    ]
    path = written(tmp_path / "a.jsonl", "\n".join(lines))
    dataset = File(path=path, group="doc", on_bad_rows="skip")
    assert rows(dataset)["train"] == {"text": ["fine", "dull"], "group": ["7", "8"], "label": [1, 0]}
    assert dataset.read().facts.classes == ("0", "1")
    assert "row 3: no label" in refusal(path=path)


def test_a_row_without_its_group_is_named(tmp_path):
    path = written(
        tmp_path / "a.jsonl", '{"text": "fine", "label": 1, "doc": 7}\n{"text": "dull", "label": 0, "doc": null}'
    )
    assert "row 2: no group" in refusal(path=path, group="doc")


def test_lists_of_labels_are_several_labels_and_never_a_class(tmp_path):
    path = written(tmp_path / "a.jsonl", '{"text": "fine", "label": ["x", "y"]}\n{"text": "dull", "label": ["x"]}')
    assert rows(File(path=path))["train"]["label"] == [[1, 1], [1, 0]]
    assert File(path=path).task_for(watched=False) == "multi-label-classification"


def test_parquet_may_hold_lists_and_the_numbers_its_rows_once_had(tmp_path):
    frame = pd.DataFrame({"text": ["fine", "dull", "odd"], "label": [["x", "y"], [], ["y"]]}, index=[9, 2, 4])
    frame.to_parquet(tmp_path / "a.parquet")
    found = rows(File(path=str(tmp_path / "a.parquet"), label_separator=","))["train"]
    assert found == {"text": ["fine", "dull", "odd"], "label": [[1, 1], [0, 0], [0, 1]]}


def test_a_line_ends_where_a_line_does_and_not_at_an_ellipsis_of_windows(tmp_path):
    (tmp_path / "a.lines").write_bytes("pos I waited \x85 and loved it\r\nneg dull\r\n".encode("latin-1"))
    dataset = File(path=str(tmp_path / "a.lines"), format="lines", encoding="latin-1")
    assert rows(dataset)["train"] == {"text": ["I waited \x85 and loved it", "dull"], "label": [1, 0]}


def test_a_quote_that_stands_for_itself_swallows_no_rows_of_a_tsv(tmp_path):
    path = written(tmp_path / "a.tsv", 'text\tlabel\n"quoted start\tneg\nmiddle\tpos\nends here"\tpos\n')
    assert "row 1 contains other rows, because one of its values begins with a quote" in refusal(path=path)
    assert len(rows(File(path=path, quoted=False))["train"]["text"]) == 3


def test_a_quote_that_is_never_closed_is_refused_in_one_line(tmp_path):
    path = written(tmp_path / "a.csv", '"never closed,x\n' + "a longer text,y\n" * 10_000)
    message = refusal(path=path, header=False, text="1", label="2")
    assert message.startswith(f"{path}: row 1 has a quote that is not closed at the end of its value")


def test_a_text_of_several_lines_that_is_quoted_rightly_is_read(tmp_path):
    path = written(tmp_path / "a.tsv", 'text\tlabel\n"def f(x):\n\treturn x\n"\tcode\nplain words\tprose\n')
    assert rows(File(path=path))["train"]["text"] == ["def f(x):\n\treturn x\n", "plain words"]


def test_a_blank_group_is_as_missing_as_none(tmp_path):
    path = written(tmp_path / "a.csv", "text,label,doc\nfine,x,7\ndull,y,\n")
    assert "row 2: no group" in refusal(path=path, group="doc")
