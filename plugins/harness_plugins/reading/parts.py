"""The rows of a file under the column names a task expects, and the problems of each row."""

import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness_plugins.reading import answers, chat, labels, spans
from harness_plugins.reading.roles import Asked, Roles
from harness_plugins.reading.rows import Rows, column
from harness_plugins.reading.values import describe, is_answers, is_chat, is_container, is_missing, is_spans, word

_HALF = re.compile("[\ud800-\udfff]")


@dataclass
class Part:
    """The rows of one file, under the column names a task expects."""

    rows: Rows
    columns: dict[str, list[Any]] = field(default_factory=dict)
    problems: list[tuple[str, str] | None] = field(default_factory=list)
    """For each row, why it cannot be used, in short and in full; None if it can."""
    moved: list[int] = field(default_factory=list)
    """For each row, how many answers are not exactly at their offset."""
    cut: int = 0
    """How many span boundaries are inside a word."""
    stripped: int = 0
    """How many labels had surrounding spaces."""

    def note(self, at: int, reason: str, told: str | None = None) -> None:
        """Record a problem of a row, unless it already has one."""
        if self.problems[at] is None:
            self.problems[at] = (reason, told or reason)


def read_part(rows: Rows, roles: Roles, asked: Asked) -> Part:
    """Return a file's rows under the column names a task expects, with labels still as text, and each row's problem."""
    part = Part(rows, problems=[None] * len(rows))
    found = {
        role: [column(rows, name, asked.flag(role)) for name in names]
        for role, names in roles.columns.items()
        if names[0] in rows.columns or not (role == "is_impossible" or (role == "group" and asked.group is None))
    }
    if rows.tagged is not None:
        found |= {"text": [rows.tagged[0]], "label": [rows.tagged[1]]}
    if roles.form == "chat":
        read_talks(part, found["messages"])
    elif roles.says == "answers":
        _read_answers(part, found)
    elif roles.form == "tokens":
        _read_tokens(part, found)
    else:
        read_text(part, "text", found["text"], roles.prompt)
        if "text_pair" in found:
            read_text(part, "text_pair", found["text_pair"])
        if "completion" in found:
            read_text(part, "completion", found["completion"])
        if "label" in found:
            _read_label(part, roles, found["label"], asked)
    if "group" in found:
        read_text(part, "group", found["group"])
    return part


def read_text(part: Part, role: str, names: Sequence[str], template: str | None = None) -> None:
    """Read texts from one column, or build them from several columns by a template."""
    missing, told = f"no {role.replace('_', ' ')}", role.replace("_", " ")
    texts: list[str] = []
    for at, values in enumerate(zip(*(part.rows.columns[name] for name in names), strict=True)):
        held = next((value for value in values if is_container(value)), None)
        if held is not None:
            hint = (
                "; to generate JSON, store it as a JSON string"
                if isinstance(held, dict) and role == "completion"
                else ""
            )
            part.note(at, f"the {told} is {describe(held)}", f"the {told} is {describe(held)}, not text{hint}")
            texts.append("")
            continue
        words = ["" if is_missing(value) else word(value) for value in values]
        text = (
            words[0] if template is None else _filled(template, part.rows, dict(zip(names, words, strict=True))).strip()
        )
        if not _is_whole(text):
            part.note(at, "incomplete character", f"the {told} contains half a character (a lone surrogate)")
        if is_missing(text) or not any(words):
            part.note(at, missing)
        texts.append(text)
    part.columns[role] = texts


def _filled(template: str, rows: Rows, words: Mapping[str, str]) -> str:
    """Return the template filled with the values of the columns it names, by name or number."""
    parsed = string.Formatter().parse(template)
    return "".join(text + ("" if name is None else words[column(rows, name, "")]) for text, name, _, _ in parsed)


def _is_whole(text: str) -> bool:
    """Return whether a text has no lone surrogate, which is left when JSON is cut inside a character."""
    return text.isascii() or not _HALF.search(text)


def _read_label(part: Part, roles: Roles, names: Sequence[str], asked: Asked) -> None:
    """Read labels: one name, a list of names, a number, or tags."""
    if roles.form == "columns":
        part.columns["label"] = _marked_columns(part, names)
        return
    values, known = part.rows.columns[names[0]], part.rows.names.get(names[0])
    if roles.form == "spans":
        _read_spans(part, values)
        return
    read: list[Any] = []
    for at, value in enumerate(values):
        try:
            read.append(
                labels.read(value, roles.says, roles.form, asked.label_separator, asked.decimal, known, asked.option)
            )
        except ValueError as error:
            reason, _, full = str(error).partition("\n")
            part.note(at, reason, full or reason)
            read.append(None)
        if isinstance(read[-1], str) and not _is_whole(read[-1]):
            part.note(at, "incomplete character", "the label contains half a character (a lone surrogate)")
        part.stripped += isinstance(value, str) and value != value.strip() and read[-1] is not None
    part.columns["label"] = read


def _marked_columns(part: Part, names: Sequence[str]) -> list[list[str]]:
    """Return for each row the names of the columns that are 1."""
    marked: list[list[str]] = [[] for _ in range(len(part.rows))]
    for name in names:
        for at, value in enumerate(part.rows.columns[name]):
            said = "" if is_missing(value) else "a list" if is_container(value) else word(value).strip().lower()
            if said in ("1", "1.0", "true", "yes"):
                marked[at].append(name)
            elif said not in ("0", "0.0", "false", "no"):
                part.note(
                    at,
                    "a label that is neither 0 nor 1",
                    f"column {name!r} is {said!r}, expected 0 or 1"
                    if said
                    else f"column {name!r} is empty, expected 0 or 1",
                )
    return marked


def _read_spans(part: Part, values: Sequence[Any]) -> None:
    rows_words: list[list[str]] = []
    rows_tags: list[list[str]] = []
    for at, (text, value) in enumerate(zip(part.columns["text"], values, strict=True)):
        if value is None or (is_container(value) and not is_spans(value)) or not is_container(value):
            part.note(at, "no label" if is_missing(value) else "the label is not a list of spans")
            rows_words.append([])
            rows_tags.append([])
            continue
        words, found, cut, problem = spans.to_tags(text, value)
        part.cut += cut
        if problem:
            part.note(at, "invalid span", problem)
        elif not words:
            part.note(at, "no text")
        rows_words.append(words)
        rows_tags.append(found)
    part.columns |= {"words": rows_words, "tags": rows_tags}


def _read_tokens(part: Part, found: Mapping[str, Sequence[str]]) -> None:
    """Read lists of words and of tags; tags may be numbers with known names."""
    name = found["label"][0]
    known = part.rows.names.get(name)
    rows_words, rows_tags = [], []
    for at, (tokens, marks) in enumerate(
        zip(part.rows.columns[found["text"][0]], part.rows.columns[name], strict=True)
    ):
        words = (
            [word(token) for token in tokens] if isinstance(tokens, list) and not any(map(is_container, tokens)) else []
        )
        given = (
            [labels.named(mark, known) for mark in marks]
            if isinstance(marks, list) and not any(map(is_container, marks))
            else []
        )
        if not words:
            part.note(at, "no words")
        elif len(words) != len(given):
            part.note(at, "not one tag per word", f"{len(words)} words but {len(given)} tags")
        elif not all(map(_is_whole, words)):
            part.note(at, "incomplete character", "a word contains half a character (a lone surrogate)")
        elif any(is_missing(token) for token in words):
            part.note(at, "a word is empty")
        rows_words.append(words)
        rows_tags.append([tag.strip() for tag in given])
    part.columns |= {"words": rows_words, "tags": rows_tags, "text": [" ".join(words) for words in rows_words]}


def read_talks(part: Part, names: Sequence[str]) -> None:
    """Read conversations from one column, or from several columns whose messages are concatenated."""
    talks = []
    for at, values in enumerate(zip(*(part.rows.columns[name] for name in names), strict=True)):
        whole = all(is_chat(value) for value in values)
        talk = (
            chat.read_talk([turn for value in values for turn in value])
            if whole
            else chat.Talk([], "", "", "no chat messages")
        )
        if talk.problem:
            part.note(at, talk.problem)
        elif not _is_whole(talk.text + talk.completion):
            part.note(at, "incomplete character", "a message contains half a character (a lone surrogate)")
        talks.append(talk)
    part.columns |= {
        "text": [talk.text for talk in talks],
        "completion": [talk.completion for talk in talks],
        "messages": [talk.messages for talk in talks],
    }


def _read_answers(part: Part, found: Mapping[str, Sequence[str]]) -> None:
    read_text(part, "text", found["text"])
    read_text(part, "text_pair", found["text_pair"])
    impossible = part.rows.columns.get("is_impossible", [None] * len(part.rows))
    right = []
    for at, (value, none) in enumerate(zip(part.rows.columns[found["answers"][0]], impossible, strict=True)):
        if value is not None and value != [] and not is_answers(value):
            part.note(at, "the answers have no offsets (expected `text` and `answer_start`)")
            value = []  # noqa: PLW2901 - invalid, so not read
        read = answers.mended(part.columns["text_pair"][at], value, impossible=None if none is None else bool(none))
        if read.problem:
            part.note(
                at,
                "an answer that is not in its context" if "of its context" in read.problem else read.problem,
                read.problem,
            )
        right.append(read)
    part.columns |= {"answers": [read.texts for read in right], "answer_start": [read.starts for read in right]}
    part.moved = [read.moved for read in right]
