from collections import Counter
from pathlib import Path

import pytest

from harness import HarnessError
from harness_plugins.datasets._conll import read

TABS = "Empire\tB-location\nState\tI-location\nis\tO\n\nHi\tO\n"


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "names.conll"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def sentences(path: Path, words: int | None = None, tags: int | None = None) -> list[tuple[list[str], list[str]]]:
    frame = read(path, "utf-8", words, tags)
    return list(zip(frame["words"], frame["tags"], strict=True))


def problems(folder: Path, content: str) -> list[str | None]:
    return read(written(folder, content), "utf-8", None, None)["problem"].tolist()


def test_a_sentence_is_a_row_with_its_words_tags_and_text(tmp_path):
    frame = read(written(tmp_path, TABS), "utf-8", None, None)
    assert frame.to_dict("list") == {
        "words": [["Empire", "State", "is"], ["Hi"]],
        "tags": [["B-location", "I-location", "O"], ["O"]],
        "text": ["Empire State is", "Hi"],
        "problem": [None, None],
    }


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
    path = written(tmp_path, "1 U.N. NNP B-NP B-org\n2 came VBD B-VP O\n")
    assert sentences(path) == [(["1", "2"], ["B-org", "O"])]
    assert sentences(path, 2, 4) == [(["U.N.", "came"], ["B-NP", "B-VP"])]


def test_where_tabs_part_columns_a_word_may_hold_a_space(tmp_path):
    assert sentences(written(tmp_path, "1 000\tO\nNew York \tB-location\n")) == [
        (["1 000", "New York"], ["O", "B-location"])
    ]


def test_a_rare_character_that_ends_lines_elsewhere_is_part_of_its_word(tmp_path):
    assert sentences(written(tmp_path, "a\u2028b\tO\n\x85x\tO\n")) == [(["a\u2028b", "\x85x"], ["O", "O"])]


def test_another_encoding_is_read_when_named(tmp_path):
    frame = read(written(tmp_path, "Zürich B-location\n".encode("latin-1")), "latin-1", None, None)
    assert frame["text"].tolist() == ["Zürich"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "a O\nb O\nc NN O\n",
            "line 3 has 3 columns, but line 1 has 2: give every word as many, parted by a tab or by spaces",
        ),
        (
            "a\tO\nb\t\n",
            "line 2 has one column, but line 1 has 2: give every word as many, parted by a tab or by spaces",
        ),
        ("\na\nb\n", "line 2 has one column: give every word and its tag a line, parted by a tab or by spaces"),
        ("", "the file has no sentences"),
        ("-DOCSTART- -X- O O\n\n \n", "the file has no sentences"),
        (
            "a O\nZürich O\n".encode("latin-1"),
            "not UTF-8 (line 2): save it as UTF-8, or name its encoding with -o file.encoding=latin-1",
        ),
    ],
    ids=["more columns", "no tag", "one column", "empty", "no words", "another encoding"],
)
def test_a_file_that_is_not_in_columns_is_refused_with_the_line(tmp_path, content, message):
    path = written(tmp_path, content)
    with pytest.raises(HarnessError) as error:
        read(path, "utf-8", None, None)
    assert str(error.value) == f"{path}: {message}"


@pytest.mark.parametrize(
    ("words", "tags", "message"),
    [
        (1, 3, "there is no column 3: line 1 has columns 1 to 2"),
        (0, 2, "there is no column 0: line 1 has columns 1 to 2"),
        (2, None, "words and tags are both to be in column 2: name two columns of 1 to 2"),
    ],
    ids=["too many", "none", "the same"],
)
def test_a_column_that_cannot_be_is_refused(tmp_path, words, tags, message):
    path = written(tmp_path, TABS)
    with pytest.raises(HarnessError) as error:
        read(path, "utf-8", words, tags)
    assert str(error.value) == f"{path}: {message}"


def test_an_unknown_encoding_is_refused(tmp_path):
    path = written(tmp_path, TABS)
    with pytest.raises(HarnessError) as error:
        read(path, "utf-ate", None, None)
    assert str(error.value) == f"{path}: there is no encoding 'utf-ate': name one that Python knows, such as latin-1"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("a O\nb I-person\n", "line 2: tag 'I-person' does not follow B-person or I-person"),
        ("a I-person\n", "line 1: tag 'I-person' does not follow B-person or I-person"),
        ("a B-place\nb I-person\n", "line 2: tag 'I-person' does not follow B-person or I-person"),
        ("a B-person\n\nb O\n\nc I-person\n", "line 5: tag 'I-person' does not follow B-person or I-person"),
        ("a person\n", "line 1: tag 'person' is neither O nor B-TYPE nor I-TYPE"),
        ("a B-\n", "line 1: tag 'B-' is neither O nor B-TYPE nor I-TYPE"),
        ("a E-person\n", "line 1: tag 'E-person' is neither O nor B-TYPE nor I-TYPE"),
        ("a\tO\n\tO\n", "line 2: no word"),
    ],
    ids=[
        "after O",
        "first",
        "after another type",
        "in a new sentence",
        "no mark",
        "no type",
        "another scheme",
        "no word",
    ],
)
def test_a_sentence_whose_tags_break_the_scheme_says_which(tmp_path, content, problem):
    assert problems(tmp_path, content)[-1] == problem


def test_only_the_sentence_that_is_wrong_has_a_problem_and_only_its_first(tmp_path):
    content = "a B-person\nb I-person\nc B-person\n\na I-person\nb X\n\na O\n"
    assert problems(tmp_path, content) == [None, "line 5: tag 'I-person' does not follow B-person or I-person", None]


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
    frame = read(shared_data / "wnut17" / name, "utf-8", None, None)
    marks = Counter(tag[0] for tags in frame["tags"] for tag in tags)
    assert len(frame) == count
    assert marks["B"] == entities
    assert frame["problem"].isna().all()
