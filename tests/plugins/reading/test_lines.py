import pytest

from harness_plugins.datasets.file import File
from harness_plugins.reading.lines import looks_like

PROSE = "It was the best of times.\nIt was the worst of times.\n\nThere were a king and a queen.\n"
TAGGED = "Anna B-PER\nleft O\n\nShe O\nsaw O\n"


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (PROSE, None),
        (TAGGED, "conll"),
        (TAGGED.replace(" ", " NN B-NP "), "conll"),
        ("# id 1\n" + TAGGED, "conll"),
        ("Bees NNS\nfly VBP\n\n" * 20, "conll"),
        ("__label__pos a fine film\n__label__neg dull\n", "lines"),
        ("two words\nmore words\n", None),
    ],
)
def test_lines_tell_what_they_are(text, form):
    assert looks_like(text) == form


def read(path, text, **params):
    path.write_text(text, encoding="utf-8")
    dataset = File(path=str(path), **params)
    return dataset.task_for(watched=False), dataset.read().splits["train"].to_dict(), dataset.read().facts


def test_tagged_words_in_a_text_file_are_never_prose_in_silence(tmp_path):
    task, rows, facts = read(tmp_path / "a.txt", TAGGED)
    assert task == "token-classification"
    assert rows["words"] == [["Anna", "left"], ["She", "saw"]]
    assert facts.notes == ("words and tags in columns (CoNLL)",)


def test_lines_of_fasttext_are_labels_and_texts(tmp_path):
    task, rows, facts = read(tmp_path / "a.txt", "__label__pos a fine film\n__label__neg dull\n")
    assert (task, facts.classes) == ("text-classification", ("neg", "pos"))
    assert rows == {"text": ["a fine film", "dull"], "label": [1, 0]}
    assert facts.notes == ("fastText lines; __label__ is removed from the labels",)


def test_several_labels_on_a_line_of_fasttext_are_several(tmp_path):
    task, rows, _ = read(tmp_path / "a.txt", "__label__x __label__y fine\n__label__y dull\n")
    assert task == "multi-label-classification"
    assert rows["label"] == [[1, 1], [0, 1]]


def test_a_text_on_each_line_is_a_text_of_its_own_where_no_line_is_blank(tmp_path):
    _, rows, facts = read(tmp_path / "a.txt", "One text.\nAnother text.\n")
    assert rows == {"text": ["One text.", "Another text."]}
    assert facts.notes == ("no blank lines, so each line is read as one text",)


def test_any_ending_is_read_by_the_form_that_is_named(tmp_path):
    assert read(tmp_path / "a.bio", TAGGED, format="conll")[0] == "token-classification"
