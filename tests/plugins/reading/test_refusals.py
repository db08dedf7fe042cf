"""Files that once were misread in silence, or ended in a traceback: each is read rightly, or refused in one line."""

import json

import pytest

from harness import HarnessError
from harness_plugins.datasets.file import File


def lines(*rows):
    return "\n".join(json.dumps(row) for row in rows)


def written(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8", errors="surrogatepass")


ANSWER = {"text": "Anna", "answer_start": 0}
TALK = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
REFUSED = {
    "a separator in a text without a header": ({"a.csv": "a fine film,pos\nHello, world,neg\n"}, {"header": False, "text": "1", "label": "2"}, "row 2 has 3 values, but the first row has 2"),
    "a separator in a text before an empty value": ({"a.csv": "id,text,label,note\n1,a,pos,\n2,Hello, world,neg,\n"}, {}, "row 2 has 5 values, but the header has 4 columns"),
    "a split column beside splits in files": ({"d/train.csv": "text,label,part\na,x,train\n", "d/test.csv": "text,label,part\nb,x,test\n"}, {"path": "d", "split": "part"}, "use only one"),
    "no train in JSON": ({"a.json": '{"dev": [{"text": "a", "label": "x"}], "test": [{"text": "b", "label": "x"}]}'}, {}, "no split is named train; the splits are validation, test"),
    "written lists that are not single in test": ({"a.csv": "text,label\na,['x']\nb,['y']\n", "t.csv": "text,label\nc,\"['x', 'y']\"\nd,[]\n"}, {"test": "t.csv"}, "2 labels, but other rows have one"),
    "marks that are no marks in test": ({"a.jsonl": lines({"text": "a", "cats": {"x": 1, "y": 0}}), "t.jsonl": lines({"text": "b", "cats": {"x": 0.1, "y": 0.9}})}, {"test": "t.jsonl"}, "the label is not an object of one 0/1 per class"),
    "no mark in test": ({"a.jsonl": lines({"text": "a", "cats": {"x": 1, "y": 0}}), "t.jsonl": lines({"text": "b", "cats": {"x": 0, "y": 0}})}, {"test": "t.jsonl"}, "0 labels, but other rows have one"),
    "marks and words": ({"a.jsonl": lines({"text": "a", "label": {"x": 1, "y": 0}}, {"text": "b", "label": "x"}, {"text": "c", "label": {"x": 0, "y": 1}})}, {}, "row 2: the label is not an object of one 0/1 per class"),
    "marks and numbers": ({"a.jsonl": lines({"text": "a", "label": [1, 0]}, {"text": "b", "label": 1}, {"text": "c", "label": [0, 1]})}, {}, "row 2: the label is not a list of one 0/1 per class"),
    "fewer marks than classes": ({"a.jsonl": lines({"text": "a", "label": [1, 0, 1]}), "t.jsonl": lines({"text": "b", "label": [0, 1]})}, {"test": "t.jsonl"}, "2 0/1 values for 3 classes"),
    "probabilities": ({"a.jsonl": lines({"text": "a", "label": [0.7, 0.3]}, {"text": "b", "label": [0.2, 0.8]})}, {}, "column 'label' holds a list, not labels"),
    "lists where numbers are asked for": ({"a.jsonl": lines({"text": "a", "label": [3.5]})}, {"numeric": True}, "holds a list, not numbers"),
    "texts and labels with a tab between": ({"a.txt": "".join(f"Phone number {n}.\t{n % 2}\n" for n in range(9))}, {}, "the lines look like columns, not prose; use -o file.format=tsv"),
    "texts and labels with a semicolon between": ({"a.txt": "".join(f"i feel fine {n};joy\n" for n in range(9))}, {}, "use -o file.format=csv -o 'file.separator=;'"),
    "a label at the end of a line": ({"a.txt": "great product __label__pos\nbad one __label__neg\n"}, {"format": "lines"}, "line 1 does not have the form 'label text'"),
    "spans without labels": ({"a.jsonl": lines({"text": "Anna", "label": [{"start": 0, "end": 4, "name": "PER"}]})}, {}, "the span 0 to 4 needs exactly one label"),
    "spans whose labels are objects": ({"a.jsonl": lines({"text": "Anna", "label": [{"start": 0, "end": 4, "label": {"name": "PER"}}]})}, {}, "the span 0 to 4 needs exactly one label"),
    "half a character": ({"a.jsonl": '{"text": "nice \\ud83d", "label": "x"}\n{"text": "b", "label": "y"}\n{"text": "c", "label": "y"}'}, {}, "row 1: the text contains half a character"),
    "a template with a format": ({"a.jsonl": lines({"q": "a", "label": "x"})}, {"prompt": "{q:d}"}, "write only the column name in braces, without a format: {q}"),
    "a template into an object": ({"a.jsonl": lines({"q": "a", "label": "x"})}, {"prompt": "{q.r}"}, "unknown column 'q.r'"),
    "a TSV that swallows numbers": ({"a.tsv": 'text\tlabel\nx\t0.5\n"start with quote\t1.21\nmiddle\t0.7\nit is 5"\t0.99\n'}, {"numeric": True}, "row 2 contains other rows"),
    "answers in a list of lists": ({"a.jsonl": lines({"question": "a", "context": "Anna", "answers": [[ANSWER]]})}, {}, "the answers have no offsets"),
    "a text for many places": ({"a.jsonl": lines({"question": "a", "context": "Anna", "answers": {"text": "Anna", "answer_start": [0]}})}, {}, "the answers have no offsets"),
    "preferences among talks": ({"a.jsonl": lines({"chosen": TALK, "rejected": TALK})}, {}, "use --text chosen"),
    "a folder as a test split": ({"a.csv": "text,label\na,x\n", "d/test.csv": "text,label\nb,x\n"}, {"test": "d"}, "is a folder: give its files"),
    "two characters that separate": ({"a.csv": "text||label\na||x\n"}, {"separator": "||"}, "the separator must be one character"),
    "a list that says the split": ({"a.jsonl": lines({"text": "a", "label": "x", "part": ["train"]})}, {"split": "part"}, "column 'part' holds 'a list of strings"),
    "a word without a tag": ({"a.jsonl": lines({"tokens": ["a", "b"], "ner_tags": ["B-X", None]}, {"tokens": ["a"], "ner_tags": ["O"]})}, {}, "row 1: a word has no tag"),
    "a dataset that is a file": ({"a.csv": "text,label\na,x\n"}, {"format": "dataset"}, "format=dataset needs a folder written by save_to_disk"),
    "a role that is a list": ({"a.jsonl": lines({"messages": [{"role": ["user"], "content": "a"}, *TALK]})}, {}, "a message has the role ['user']"),
    "JSON without an end": ({"a.json": "[" * 100_000}, {}, ""),
    "joined words alone": ({"a.conllu": "1-2\tVámonos" + "\t_" * 8 + "\n"}, {}, "the file has no words, only ranges of joined words"),
    "an archive of several files": ({"a.tar.gz": "x"}, {}, "is an archive; unpack it and give the file inside"),
    "a header with a line break": ({"a.csv": '"my\ntext",label\na,x\n'}, {}, "the columns are my text, label"),
}  # fmt: skip


@pytest.mark.parametrize(("files", "params", "told"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_rightly_is_refused_in_one_line(tmp_path, monkeypatch, files, params, told):
    written(tmp_path, files)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HarnessError) as error:
        File(**{"path": next(iter(files)), **params}).read()
    assert told in str(error.value)
    assert "\n" not in str(error.value)


READ = {
    "a column by its number beside a split column": (
        {"a.csv": "part,text,label,note\ntrain,a,x,n\ntest,b,x,n\ntrain,c,y,n\n"}, {"split": "1", "text": "2", "label": "3"}, {"text": ["a", "c"], "label": [0, 1]}),
    "the second of two columns of one name": ({"a.csv": "text,label,label\na,x,1\nb,y,2\n"}, {"label": "2"}, {"text": ["a", "b"], "label": [0, 1]}),
    "sources behind a tab": ({"a.tsv": "a\tx\nb\ty\tsource\n"}, {"header": False, "text": "1", "label": "2"}, {"text": ["a", "b"], "label": [0, 1]}),
    "a tab after the label": ({"a.txt": "ham\tGo until jurong\nspam\tFree entry\n"}, {"format": "lines"}, {"text": ["Go until jurong", "Free entry"], "label": [0, 1]}),
    "a template with numbers": ({"a.csv": "x,a,b\ny,c,d\n"}, {"header": False, "prompt": "{2} {3}", "label": "1"}, {"text": ["a b", "c d"], "label": [0, 1]}),
    "spans of a pipeline": ({"a.jsonl": lines({"text": "Anna", "label": [{"start": 0, "end": 4, "entity_group": "PER"}]}, {"text": "b", "label": []})}, {}, {"text": ["Anna", "b"], "words": [["Anna"], ["b"]], "tags": [[1], [0]]}),
    "paths with backslashes": ({"a.csv": 'text,label\n"C:\\temp\\new said ""no""",x\nb,y\n'}, {}, {"text": ['C:\\temp\\new said "no"', "b"], "label": [0, 1]}),
    "a title in one file only": (
        {"a.jsonl": lines({"question": "a", "context": "Anna", "answers": [ANSWER], "title": "T"}), "t.jsonl": lines({"question": "b", "context": "Anna", "answers": [ANSWER]})},
        {"test": "t.jsonl"}, {"text": ["a"], "text_pair": ["Anna"], "answers": [["Anna"]], "answer_start": [[0]]}),
    "tags without marks and given types": (
        {"a.jsonl": lines({"tokens": ["Anna", "is"], "ner_tags": [1, 0]})}, {"classes": ("O", "PER")}, {"words": [["Anna", "is"]], "tags": [[1, 0]], "text": ["Anna is"]}),
    "a shift encoding": ({"a.csv": "text,label\na,x\nb,y\n"}, {"encoding": "iso2022_jp"}, {"text": ["a", "b"], "label": [0, 1]}),
}  # fmt: skip


@pytest.mark.parametrize(("files", "params", "expected"), READ.values(), ids=READ)
def test_what_can_be_read_is_read_as_written(tmp_path, monkeypatch, files, params, expected):
    written(tmp_path, files)
    monkeypatch.chdir(tmp_path)
    assert File(**{"path": next(iter(files)), **params}).read().splits["train"].to_dict() == expected


def test_lists_as_numpy_prints_them_are_not_joined(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        "text,label\n" + "".join(f"text {n},['joy' 'anger']\n" if n % 2 else f"text {n},['fear']\n" for n in range(8))
    )
    dataset = File(path=str(path))
    dataset.read()
    assert "joyanger" not in dataset.read().facts.classes
    assert any("look like lists" in warning for warning in dataset.read().facts.warnings)


def test_an_old_copy_beside_the_training_file_is_not_read(tmp_path):
    for name in ("train.csv", "train_old.csv"):
        (tmp_path / name).write_text(f"text,label\n{name},x\n")
    assert File(path=str(tmp_path)).read().splits["train"]["text"][:] == ["train.csv"]


def test_the_sheet_with_the_columns_is_read(tmp_path):
    pd = pytest.importorskip("pandas")
    path = tmp_path / "a.xlsx"
    with pd.ExcelWriter(path) as writer:
        pd.DataFrame({"About": ["our reviews"]}).to_excel(writer, sheet_name="cover", index=False)
        pd.DataFrame({"text": ["a", "b"], "label": ["x", "y"]}).to_excel(writer, sheet_name="data", index=False)
    dataset = File(path=str(path))
    assert dataset.read().splits["train"]["text"][:] == ["a", "b"]
    assert dataset.read().facts.notes == ("read sheet 'data' of 2; the others are ignored",)
