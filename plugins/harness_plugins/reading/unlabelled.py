"""Rows to predict: the columns a task needs from a file without labels."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import harness
from harness_plugins.reading import parts
from harness_plugins.reading.roles import Asked
from harness_plugins.reading.rows import Rows, column
from harness_plugins.reading.values import is_chat, is_words

_ALPACA = "{instruction}\n{input}"


def read_unlabelled(rows: Rows, columns: Mapping[str, Sequence[str]], asked: Asked) -> harness.Unlabelled:
    """Return the original rows and the columns a task needs.

    Args:
        rows: The rows of the file.
        columns: By role, the column names in the training data.
        asked: The user's settings for the training data.

    Raises:
        HarnessError: A column is missing.
    """
    part = parts.Part(rows, problems=[None] * len(rows))
    if talks := columns.get("messages"):
        names = [column(rows, name, asked.flag("text")) for name in talks if name in rows.columns] or [
            column(rows, talks[0], asked.flag("text"))
        ]
        asking = {name: [_with_answer(value) for value in rows.columns[name]] for name in names[-1:]}
        answered = replace(rows, columns={**rows.columns, **asking})
        part = parts.Part(answered, problems=part.problems)
        parts.read_talks(part, names)
        part.columns.pop("completion")
    else:
        _read(part, columns, asked)
    told = [{name: values[at] for name, values in rows.columns.items()} for at in range(len(rows))]
    return harness.Unlabelled(told, part.columns, [problem and problem[1] for problem in part.problems])


def _with_answer(turns: Any) -> Any:
    """Return a conversation that ends with a question with a placeholder answer; any other value unchanged."""
    asks = is_chat(turns) and turns[-1].get("role", turns[-1].get("from")) in ("user", "human")
    return [*turns, {"role": "assistant", "content": "?"}] if asks else turns


def _read(part: parts.Part, columns: Mapping[str, Sequence[str]], asked: Asked) -> None:
    rows = part.rows
    names = list(columns.get("text") or [asked.text])
    if rows.prose and len(rows.columns) == 1:
        names = list(rows.columns)  # plain text has no column names
    names = [column(rows, name, asked.flag("text")) for name in names]
    template = asked.prompt.replace("\\n", "\n").replace("\\t", "\t") if asked.prompt else None
    if template is None and len(names) > 1:
        template = _ALPACA
    first = next((value for value in rows.columns[names[0]] if value is not None), None)
    if is_words(first):
        part.columns["words"] = [list(map(str, value)) if is_words(value) else [] for value in rows.columns[names[0]]]
        part.columns["text"] = [" ".join(words) for words in part.columns["words"]]
        for at, words in enumerate(part.columns["words"]):
            if not words:
                part.note(at, "no words")
        return
    parts.read_text(part, "text", names, template)
    if pair := columns.get("text_pair"):
        parts.read_text(part, "text_pair", [column(rows, pair[0], asked.flag("text_pair"))])
