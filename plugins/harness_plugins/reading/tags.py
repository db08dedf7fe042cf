"""Words and tags: reads CoNLL columns and converts tags of any scheme to IOB2.

    Empire    B-location        a word and its tag on each line, separated by a tab or by spaces
    State     I-location
    grew      O
                                a blank line ends a sentence

There may be more columns, as in CoNLL-2003, and comments after a `#`. Schemes: Ramshaw and Marcus, 1995 (IOB1); Tjong
Kim Sang and Veenstra, 1999 (IOB2); Ratinov and Roth, 2009 (BILOU, also written as IOBES).
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import harness
from harness_plugins.reading.rows import Rows, lines_of

OUTSIDE = "O"
_DOCUMENT = "-DOCSTART-"
_COMMENT = re.compile(r"#(\s|$)")
_FEWEST_COLUMNS = 2
_CONLLU_COLUMNS, _PARTS_OF_SPEECH = 10, 4
_COUNT = re.compile(r"\d+([-.]\d+)?")
_TAG = re.compile(r"([BIESLUMW])[-_](.+)")
_BEGINS = {"B": "B", "I": "I", "M": "I", "E": "I", "L": "I", "S": "B", "U": "B", "W": "B"}
"""For each prefix, the one in IOB2."""


class _Sentence(NamedTuple):
    words: list[str]
    tags: list[str]
    line: int


def read(path: str, text: str, word_column: int | None, tag_column: int | None) -> Rows:
    """Return a file's sentences as lists of words and of tags.

    Args: path: For messages. text: The text of the file. word_column: Number of the word column, from 1; None for the
        first, or for the second if the first numbers the words. tag_column: Number of the tag column, from 1; None for
        the last, or, if the first column numbers the words, for the first column of tags.

    Raises:
        HarnessError: The file is not in columns, or has too few; the message says where.
    """
    sentences = list(_sentences(path, text))
    if not sentences:
        message = f"{path}: the file has no sentences"
        raise harness.HarnessError(message)
    wide = len(sentences[0][0][1])
    counted = word_column is None and _counts(sentences)
    if counted:
        # Universal Dependencies number joined words with ranges and unwritten words with decimals; neither is a word
        # here.
        sentences = [[row for row in sentence if row[1][0].isdecimal()] for sentence in sentences]
        sentences = [sentence for sentence in sentences if sentence]
        if not sentences:
            message = f"{path}: the file has no words, only ranges of joined words"
            raise harness.HarnessError(message)
    word = (2 if counted else 1) if word_column is None else word_column
    tag = (_usual_tags(sentences, word) if counted else wide) if tag_column is None else tag_column
    first = sentences[0][0][0]
    for number in (word, tag):
        if not 1 <= number <= wide:
            message = f"{path}: no column {number}; line {first} has columns 1 to {wide}"
            raise harness.HarnessError(message)
    if word == tag:
        message = f"{path}: words and tags are both set to column {word}; choose two columns from 1 to {wide}"
        raise harness.HarnessError(message)
    notes = [f"words from column {word} and tags from column {tag} of {wide}"] if wide > _FEWEST_COLUMNS else []
    columns: dict[str, list[Any]] = {
        f"column {word}": [[values[word - 1] for _, values in sentence] for sentence in sentences],
        f"column {tag}": [[values[tag - 1] for _, values in sentence] for sentence in sentences],
    }
    return Rows(path, columns, range(1, len(sentences) + 1), tuple(notes), tagged=(f"column {word}", f"column {tag}"))


def _sentences(path: str, text: str) -> Iterator[list[tuple[int, list[str]]]]:
    """Yield sentences: for each word, its line number and column values."""
    sentence: list[tuple[int, list[str]]] = []
    wide, since = 0, 0
    lines = lines_of(text.removeprefix("\ufeff"))
    known = {_values(content)[-1] for content in lines if content.strip() and not _COMMENT.match(content)}
    for line, content in enumerate(lines, start=1):
        # A word may be `#`; a comment comes before a sentence and does not end in a tag.
        values = _values(content)
        comment = _COMMENT.match(content) and not sentence and values[-1] not in known
        if not content.strip() or content.startswith(_DOCUMENT) or comment:
            if sentence:
                yield sentence
            sentence = []
            continue
        if not wide:
            wide, since = len(values), line
            if wide < _FEWEST_COLUMNS:
                message = (
                    f"{path}: line {line} has one column; write each word and its tag on one line, separated by a "
                    "tab or by spaces"
                )
                raise harness.HarnessError(message)
        if len(values) != wide:
            has = "one column" if len(values) == 1 else f"{len(values)} columns"
            message = (
                f"{path}: line {line} has {has}, but line {since} has {wide}; give every line the same number of "
                "columns, "
                "separated by a tab or by spaces"
            )
            raise harness.HarnessError(message)
        sentence.append((line, values))
    if sentence:
        yield sentence


def _values(content: str) -> list[str]:
    """Return a line's columns; if tabs separate them, spaces belong to the words."""
    if "\t" in content:
        return [value.strip(" ") for value in content.rstrip().split("\t")]
    return re.split(" +", content.strip(" "))


def _counts(sentences: Sequence[Sequence[tuple[int, list[str]]]]) -> bool:
    """Return whether the first of several columns numbers the words."""
    return len(sentences[0][0][1]) > _FEWEST_COLUMNS and all(
        _COUNT.fullmatch(values[0]) for sentence in sentences for _, values in sentence
    )


def _usual_tags(sentences: Sequence[Sequence[tuple[int, list[str]]]], word: int) -> int:
    """Return the number of the tag column if the first column numbers the words.

    This is the first column that holds only tags, some of them of entities; else the part-of-speech column if there are
    as many columns as in CoNLL-U (Universal Dependencies); else the last column.
    """
    wide = len(sentences[0][0][1])
    for at in range(word, wide):
        found = {values[at] for sentence in sentences for _, values in sentence}
        if found - {OUTSIDE} and all(tag == OUTSIDE or _TAG.fullmatch(tag) for tag in found):
            return at + 1
    return _PARTS_OF_SPEECH if wide == _CONLLU_COLUMNS else wide


def type_of(tag: str) -> str:
    """Return a tag without its prefix, if any."""
    found = _TAG.fullmatch(tag)
    return found[2] if found else tag


def is_iob2(tag: str) -> bool:
    """Return whether a tag is valid in IOB2."""
    return tag == OUTSIDE or re.fullmatch(r"[BI]-.+", tag) is not None


class Scheme(NamedTuple):
    """The tagging scheme of the data."""

    name: str
    """`IOB2`, `IOB1`, `IOBES`, `entities without marks`, or `plain` for one independent tag per word."""
    note: str | None
    """A note on the conversion; None for IOB2."""


def scheme_of(sentences: Sequence[Sequence[str]]) -> Scheme:
    """Return the tagging scheme of the sentences."""
    counts = Counter(tag for tags in sentences for tag in tags)
    marked = {tag: found for tag in counts if (found := _TAG.fullmatch(tag))}
    others = [tag for tag in counts if tag not in marked and tag != OUTSIDE]
    if not marked:
        if OUTSIDE in counts and others:
            note = "tags have no B- or I- prefix: adjacent words with the same tag are read as one entity (IOB2)"
            return Scheme("entities without marks", note)
        return Scheme("plain" if others else "IOB2", None)
    marks = {found[1] for found in marked.values()}
    if marks & set("ESLUMW"):
        return Scheme("IOBES", f"{'BILOU' if marks & set('LU') else 'IOBES'} tags are converted to IOB2")
    began = sum(_begins_by_itself(tags) for tags in sentences)
    beginnings = sum(count for tag, count in counts.items() if tag in marked and marked[tag][1] == "B")
    # In IOB1, B only marks an entity directly after another of the same type, so most entities begin with I.
    if began > beginnings:
        return Scheme("IOB1", "IOB1 tags are converted to IOB2")
    return Scheme("IOB2", None)


def to_iob2(tags: Sequence[str], scheme: str) -> tuple[list[str], str | None]:
    """Return a sentence's tags in IOB2, and the problem as a clause, or None."""
    if scheme == "plain":
        return list(tags), None if all(tags) else "a word has no tag"
    converted: list[str] = []
    before = OUTSIDE
    for tag in tags:
        if not tag:
            return list(tags), "a word has no tag"
        if tag == OUTSIDE:
            converted.append(OUTSIDE)
            before = OUTSIDE
            continue
        if scheme == "entities without marks":
            converted.append(f"I-{tag}" if before == tag else f"B-{tag}")
            before = tag
            continue
        found = _TAG.fullmatch(tag)
        if found is None:
            return list(tags), f"tag {tag!r} is not O, B-TYPE or I-TYPE"
        mark, kind = _BEGINS[found[1]], found[2]
        follows = before in (f"B-{kind}", f"I-{kind}")
        if mark == "I" and not follows:
            if scheme == "IOB2":
                return list(tags), f"tag {tag!r} does not follow B-{kind} or I-{kind}"
            mark = "B"
        converted.append(f"{mark}-{kind}")
        # After the last word of an entity, the next word cannot continue it.
        before = OUTSIDE if scheme == "IOBES" and found[1] in "ESLUW" else converted[-1]
    return converted, None


def _begins_by_itself(tags: Sequence[str]) -> int:
    """Return how many entities begin with I without a preceding tag of their type."""
    count, before = 0, OUTSIDE
    for tag in tags:
        found = _TAG.fullmatch(tag)
        if found and found[1] == "I" and not (before != OUTSIDE and before[2:] == found[2]):
            count += 1
        before = tag
    return count
