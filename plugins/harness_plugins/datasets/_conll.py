"""Reads words and their tags from a file in columns. Imported when data is read: it needs pandas.

    Empire    B-location        a word and its tag on each line, parted by a tab or by spaces
    State     I-location
    grew      O
                                a blank line ends a sentence

There may be more columns, as in CoNLL-2003: the words are in the first and the tags in the last unless said otherwise.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

import harness
from harness_plugins.datasets._text import read_text

_DOCUMENT = "-DOCSTART-"
_FEWEST_COLUMNS = 2


class _Word(NamedTuple):
    line: int
    word: str
    tag: str


def read(path: Path, encoding: str, word_column: int | None, tag_column: int | None) -> pd.DataFrame:
    """Return a file's sentences: `words` and `tags` (lists of strings), `text` (the words joined by a space) and `problem`.

    The last says which tag or word is wrong, or is None. Lines that mark a document's start are passed over.

    Args:
        path: The file.
        encoding: Of the file.
        word_column: Number of the words' column, from 1; None for the first.
        tag_column: Number of the tags' column, from 1; None for the last.

    Raises:
        HarnessError: The file is not in columns, or not in so many; says where.
    """
    sentences = list(_sentences(path, read_text(path, encoding), word_column, tag_column))
    if not sentences:
        message = f"{path}: the file has no sentences"
        raise harness.HarnessError(message)
    return pd.DataFrame(
        {
            "words": [[word.word for word in sentence] for sentence in sentences],
            "tags": [[word.tag for word in sentence] for sentence in sentences],
            "text": [" ".join(word.word for word in sentence) for sentence in sentences],
            # Of objects: None is to stay None.
            "problem": pd.Series([_problem(sentence) for sentence in sentences], dtype=object),
        }
    )


def _sentences(path: Path, text: str, word_column: int | None, tag_column: int | None) -> Iterator[list[_Word]]:
    sentence: list[_Word] = []
    columns: tuple[int, int] | None = None
    wide, since = 0, 0
    # Not by splitlines, for which rare characters that may stand in a word end a line, too.
    for line, content in enumerate(re.split(r"\r\n?|\n", text), start=1):
        if not content.strip() or content.startswith(_DOCUMENT):
            if sentence:
                yield sentence
            sentence = []
            continue
        values = _values(content)
        if columns is None:
            columns = _columns(path, line, len(values), word_column, tag_column)
            wide, since = len(values), line
        if len(values) != wide:
            has = "one column" if len(values) == 1 else f"{len(values)} columns"
            message = (
                f"{path}: line {line} has {has}, but line {since} has {wide}: give every word as many, parted by a tab or "
                "by spaces"
            )
            raise harness.HarnessError(message)
        sentence.append(_Word(line, values[columns[0]], values[columns[1]]))
    if sentence:
        yield sentence


def _values(content: str) -> list[str]:
    """Return a line's columns; where a tab parts them, a space belongs to a word."""
    if "\t" in content:
        return [value.strip(" ") for value in content.rstrip().split("\t")]
    return re.split(" +", content.strip(" "))


def _columns(path: Path, line: int, wide: int, word_column: int | None, tag_column: int | None) -> tuple[int, int]:
    """Return the columns of words and tags, from 0."""
    word = 1 if word_column is None else word_column
    tag = wide if tag_column is None else tag_column
    if wide < _FEWEST_COLUMNS:
        message = (
            f"{path}: line {line} has one column: give every word and its tag a line, parted by a tab or by spaces"
        )
        raise harness.HarnessError(message)
    for number in (word, tag):
        if not 1 <= number <= wide:
            message = f"{path}: there is no column {number}: line {line} has columns 1 to {wide}"
            raise harness.HarnessError(message)
    if word == tag:
        message = f"{path}: words and tags are both to be in column {word}: name two columns of 1 to {wide}"
        raise harness.HarnessError(message)
    return word - 1, tag - 1


def _problem(sentence: Sequence[_Word]) -> str | None:
    """Return what is wrong first: a word that is missing, or a tag where the BIO scheme has none such."""
    before = "O"
    for line, word, tag in sentence:
        mark, _, kind = tag.partition("-")
        if not word:
            return f"line {line}: no word"
        if tag != "O" and not (mark in ("B", "I") and kind):
            return f"line {line}: tag {tag!r} is neither O nor B-TYPE nor I-TYPE"
        if mark == "I" and before not in (f"B-{kind}", f"I-{kind}"):
            return f"line {line}: tag {tag!r} does not follow B-{kind} or I-{kind}"
        before = tag
    return None
