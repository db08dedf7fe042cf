"""Plain text: paragraphs, one text per line, or a label and a text per line."""

import re

import harness
from harness_plugins.reading.rows import Rows, lines_of

_MARK = "__label__"
"""The prefix of labels in fastText files."""
_SAMPLE_LINES = 2000
_TAG = re.compile(r"(O|[BIESLUMW][-_]\S+)")
_FEW_TAGS = 60
_FEWEST_LINES = 5


def looks_like(text: str) -> str | None:
    """Return the format that the lines of a plain text seem to have: `lines` (fastText), `conll`, or None for prose."""
    lines = lines_of(text.removeprefix("\ufeff"))[:_SAMPLE_LINES]
    filled = [line for line in lines if line.strip()]
    if filled and all(line.lstrip().startswith(_MARK) for line in filled):
        return "lines"
    rows = [line.split() for line in filled if not line.startswith(("#", "-DOCSTART-"))]
    if len(rows) < 2 or len({len(row) for row in rows}) != 1 or len(rows[0]) < 2:
        return None
    last = [row[-1] for row in rows]
    if all(_TAG.fullmatch(tag) for tag in last):
        return "conll"
    few = len(set(last)) <= min(_FEW_TAGS, len(last) // 5)
    return "conll" if few and len(rows[0]) == 2 and len(filled) < len(lines) else None


def separator_of(text: str) -> str | None:
    """Return the separator on all lines of a text: a tab, or a semicolon before a few distinct endings; else None."""
    lines = [line for line in lines_of(text.removeprefix("\ufeff"))[:_SAMPLE_LINES] if line.strip()]
    if len(lines) < _FEWEST_LINES:
        return None
    if lines[0].count("\t") and len({line.count("\t") for line in lines}) == 1:
        return "\t"
    ends = {line.rpartition(";")[2].strip() for line in lines}
    return ";" if all(line.count(";") == 1 for line in lines) and len(ends) <= len(lines) // 5 else None


def read_paragraphs(path: str, text: str) -> Rows:
    """Return the paragraphs between blank lines, each as one line; without blank lines, each line is a text."""
    lines = lines_of(text.removeprefix("\ufeff"))
    parts: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            parts[-1].append(line.strip())
        elif parts[-1]:
            parts.append([])
    texts = [" ".join(part) for part in parts if part]
    notes: tuple[str, ...] = ()
    if len(texts) == 1 and len(parts[0]) > 1:
        texts, notes = parts[0], ("no blank lines, so each line is read as one text",)
    if not texts:
        message = f"{path}: the file is empty"
        raise harness.HarnessError(message)
    return Rows(path, {"text": texts}, range(1, len(texts) + 1), notes, prose=True)


def read_labelled(path: str, text: str) -> Rows:
    """Return the rows of lines with a label, a space and a text; with fastText's prefix there may be several labels.

    Raises:
        HarnessError: A line has another form; the message gives its number.
    """
    labels: list[str | list[str]] = []
    texts: list[str] = []
    numbers: list[int] = []
    marked = False
    for number, line in enumerate(lines_of(text.removeprefix("\ufeff")), 1):
        words = line.split()
        if not words:
            continue
        found: list[str] = []
        if words[0].startswith(_MARK):
            marked = True
            while words and words[0].startswith(_MARK):
                found.append(words.pop(0).removeprefix(_MARK))
            rest = " ".join(words)
        else:
            label, *others = line.split(maxsplit=1)
            rest = others[0] if others else ""
            found.append(label)
        if not rest.strip() or _MARK in rest or (marked and not line.lstrip().startswith(_MARK)):
            message = f"{path}: line {number} does not have the form 'label text'"
            raise harness.HarnessError(message)
        labels.append(found)
        texts.append(rest.strip())
        numbers.append(number)
    if not texts:
        message = f"{path}: the file is empty"
        raise harness.HarnessError(message)
    if all(len(found) == 1 for found in labels):
        labels = [found[0] for found in labels]
    return Rows(
        path,
        {"label": labels, "text": texts},
        numbers,
        (f"fastText lines; {_MARK} is removed from the labels",) if marked else (),
    )
