from collections import Counter
from pathlib import Path

import pytest

from harness import HarnessError
from harness_plugins.datasets.file import File
from harness_plugins.reading.content import read_text
from harness_plugins.reading.rows import Rows
from harness_plugins.reading.tags import read as read_columns
from harness_plugins.reading.tags import scheme_of, to_iob2

TABS = "Empire\tB-location\nState\tI-location\nis\tO\n\nHi\tO\n"


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "names.conll"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(path: Path, words: int | None = None, tags: int | None = None) -> Rows:
    return read_columns(str(path), read_text(path, None).text, words, tags)


def sentences(path: Path, words: int | None = None, tags: int | None = None) -> list[tuple[list[str], list[str]]]:
    return list(zip(*read(path, words, tags).columns.values(), strict=True))


def test_a_sentence_is_a_row_with_its_words_tags_and_text(tmp_path):
    dataset = File(path=str(written(tmp_path, TABS)))
    assert dataset.read().splits["train"].to_dict() == {
        "words": [["Empire", "State", "is"], ["Hi"]],
        "tags": [[1, 2, 0], [0]],
        "text": ["Empire State is", "Hi"],
    }
    assert dataset.read().facts.classes == ("O", "B-location", "I-location")
    assert dataset.task_for(watched=False) == "token-classification"


@pytest.mark.parametrize(
    "content",
    [
        TABS.replace("\t", " "),
        TABS.replace("\t", "    "),
        TABS.replace("\n", "\r\n"),
        TABS.replace("\n\n", "\n\t\n"),
        TABS.replace("\n\n", "\n \n\n\n"),
        "\n\n" + TABS.rstrip("\n"),
        "\ufeff" + TABS,
        "-DOCSTART- -X- O O\n\n" + TABS,
        TABS.replace("\n\n", "\n-DOCSTART-\tO\n"),
    ],
    ids=[
        "a space",
        "many spaces",
        "line ends of Windows",
        "a lone tab between sentences",
        "several blank lines between sentences",
        "no newline at the end",
        "a byte order mark",
        "a document's start",
        "a document's start between sentences",
    ],
)
def test_files_of_other_habits_say_the_same(tmp_path, content):
    assert sentences(written(tmp_path, content)) == [
        (["Empire", "State", "is"], ["B-location", "I-location", "O"]),
        (["Hi"], ["O"]),
    ]


def test_the_words_are_in_the_first_column_and_the_tags_in_the_last_unless_said_otherwise(tmp_path):
    path = written(tmp_path, "U.N. NNP B-NP B-org\ncame VBD B-VP O\n")
    assert sentences(path) == [(["U.N.", "came"], ["B-org", "O"])]
    assert sentences(path, 1, 3) == [(["U.N.", "came"], ["B-NP", "B-VP"])]
    assert read(path).notes == ("words from column 1 and tags from column 4 of 4",)


def test_where_the_first_column_counts_the_words_are_in_the_second_and_the_tags_in_the_first_of_tags(tmp_path):
    path = written(tmp_path, "# source\n1\tAnna\tB-PER\tO\n2\tging\tO\tO\n\n1\tSie\tO\tO\n")
    assert sentences(path) == [(["Anna", "ging"], ["B-PER", "O"]), (["Sie"], ["O"])]
    assert read(path).notes == ("words from column 2 and tags from column 3 of 4",)


def test_universal_dependencies_are_parts_of_speech_of_the_words_that_are_written(tmp_path):
    lines = ["# text = Vámonos", "1-2\tVámonos\t_", "1\tVamos\tir\tVERB", "2\tnos\tnosotros\tPRON", "2.1\tx\tx\tNOUN"]
    path = tmp_path / "es.conllu"
    path.write_text(
        "\n".join([lines[0], *(line + "\t_" * (9 - line.count("\t")) for line in lines[1:])]), encoding="utf-8"
    )
    dataset = File(path=str(path))
    assert dataset.task_for(watched=False) == "tagging"
    assert dataset.read().splits["train"]["words"][:] == [["Vamos", "nos"]]
    assert dataset.read().facts.classes == ("PRON", "VERB")


@pytest.mark.parametrize("comment", ["# id 7f domain=en", "# text = Anna left", "#", "# one"])
def test_comments_before_a_sentence_are_no_words(tmp_path, comment):
    path = written(tmp_path, f"{comment}\nAnna _ _ B-PER\nleft _ _ O\n\n{comment}\nShe _ _ O\n")
    assert sentences(path) == [(["Anna", "left"], ["B-PER", "O"]), (["She"], ["O"])]


def test_a_number_sign_with_a_tag_is_a_word(tmp_path):
    assert sentences(written(tmp_path, "# O\nMAGA O\n")) == [(["#", "MAGA"], ["O", "O"])]


def test_where_tabs_part_columns_a_word_may_hold_a_space(tmp_path):
    assert sentences(written(tmp_path, "1 000\tO\nNew York \tB-location\n")) == [
        (["1 000", "New York"], ["O", "B-location"])
    ]


def test_a_rare_character_that_ends_lines_elsewhere_is_part_of_its_word(tmp_path):
    assert sentences(written(tmp_path, "a\u2028b\tO\n\x85x\tO\n")) == [(["a\u2028b", "\x85x"], ["O", "O"])]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "a O\nb O\nc NN O\n",
            "line 3 has 3 columns, but line 1 has 2; give every line the same number of columns, separated by a tab or by spaces",
        ),
        (
            "a\tO\nb\t\n",
            "line 2 has one column, but line 1 has 2; give every line the same number of columns, separated by a tab or by spaces",
        ),
        ("\na\nb\n", "line 2 has one column; write each word and its tag on one line, separated by a tab or by spaces"),
        ("", "the file has no sentences"),
        ("-DOCSTART- -X- O O\n\n \n", "the file has no sentences"),
    ],
    ids=["more columns", "no tag", "one column", "empty", "no words"],
)
def test_a_file_that_is_not_in_columns_is_refused_with_the_line(tmp_path, content, message):
    path = written(tmp_path, content)
    with pytest.raises(HarnessError) as error:
        read(path)
    assert str(error.value) == f"{path}: {message}"


@pytest.mark.parametrize(
    ("words", "tags", "message"),
    [
        (1, 3, "no column 3; line 1 has columns 1 to 2"),
        (0, 2, "no column 0; line 1 has columns 1 to 2"),
        (2, None, "words and tags are both set to column 2; choose two columns from 1 to 2"),
    ],
    ids=["too many", "none", "the same"],
)
def test_a_column_that_cannot_be_is_refused(tmp_path, words, tags, message):
    path = written(tmp_path, TABS)
    with pytest.raises(HarnessError) as error:
        read(path, words, tags)
    assert str(error.value) == f"{path}: {message}"


SCHEMES = {
    "IOB2": ("B-per I-per O B-loc B-loc", "IOB2", "B-per I-per O B-loc B-loc"),
    "IOB1": ("I-per I-per O I-loc B-loc I-loc", "IOB1", "B-per I-per O B-loc B-loc I-loc"),
    "IOBES": ("B-per E-per O S-loc S-loc", "IOBES", "B-per I-per O B-loc B-loc"),
    "BILOU": ("B-per I-per L-per U-loc O", "IOBES", "B-per I-per I-per B-loc O"),
    "without marks": ("per per O loc per", "entities without marks", "B-per I-per O B-loc B-per"),
    "parts of speech": ("NN VBZ DT NN", "plain", "NN VBZ DT NN"),
}


@pytest.mark.parametrize(("given", "scheme", "expected"), SCHEMES.values(), ids=SCHEMES)
def test_tags_of_every_scheme_become_those_of_iob2(given, scheme, expected):
    assert scheme_of([given.split()]).name == scheme
    assert to_iob2(given.split(), scheme) == (expected.split(), None)


def test_an_entity_that_follows_the_end_of_another_begins_anew():
    assert to_iob2(["E-per", "I-per"], "IOBES")[0] == ["B-per", "B-per"]


@pytest.mark.parametrize(
    ("content", "note"),
    [
        ("Anna I-PER\nleft O\n", "IOB1 tags are converted to IOB2"),
        ("Anna S-PER\nleft O\n", "IOBES tags are converted to IOB2"),
        ("Anna U-PER\nleft O\n", "BILOU tags are converted to IOB2"),
        (
            "Anna PER\nleft O\n",
            "tags have no B- or I- prefix: adjacent words with the same tag are read as one entity (IOB2)",
        ),
    ],
)
def test_a_conversion_is_said(tmp_path, content, note):
    dataset = File(path=str(written(tmp_path, content)))
    assert dataset.task_for(watched=False) == "token-classification"
    dataset.read()
    assert dataset.read().facts.notes == (note,)
    assert dataset.read().facts.classes == ("O", "B-PER")


def test_tags_of_words_by_themselves_are_a_task_of_their_own(tmp_path):
    dataset = File(path=str(written(tmp_path, "Bees NNS\nmake VBP\nhoney NN\n\nAnts NNS\n")))
    assert dataset.task_for(watched=False) == "tagging"
    dataset.read()
    assert dataset.read().facts.classes == ("NN", "NNS", "VBP")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("a B-person\nb I-person\n\nc B-person\nd I-place\n", "tag 'I-place' does not follow B-place or I-place"),
        ("a B-person\nb O\n\nc person\n", "tag 'person' is not O, B-TYPE or I-TYPE"),
        ("a\tB-x\nb\tO\n\n\tO\n", "a word is empty"),
    ],
    ids=["after another type", "no mark", "empty word"],
)
def test_a_sentence_whose_tags_break_the_scheme_says_which(tmp_path, content, problem):
    path = written(tmp_path, content)
    with pytest.raises(HarnessError) as error:
        File(path=str(path)).read()
    assert f"1 bad row (first: row 2: {problem})" in str(error.value)


@pytest.mark.parametrize(
    ("name", "count", "entities"),
    [
        # Blank lines and B- counted with grep.
        ("wnut17train.conll", 3394, 1975),
        ("emerging.dev.conll", 1009, 836),
        ("emerging.test.annotated", 1287, 1079),
    ],
    ids=["train", "validation", "test"],
)
def test_wnut17_is_read_whole(shared_data, name, count, entities):
    dataset = File(path=str(shared_data / "wnut17" / name), format="conll")
    tags = dataset.read().splits["train"]["tags"][:]
    names = dataset.read().facts.classes
    marks = Counter(names[tag][0] for row in tags for tag in row)
    assert len(tags) == count
    assert marks["B"] == entities
    assert dataset.read().facts.notes == ()
