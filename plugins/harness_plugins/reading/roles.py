"""Assigns roles to columns, by the names the user gives, the usual names of common formats, and the column content."""

import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import harness
from harness_plugins.reading import labels
from harness_plugins.reading.rows import Rows, column
from harness_plugins.reading.values import (
    describe,
    is_answers,
    is_chat,
    is_container,
    is_fraction,
    is_marks,
    is_missing,
    is_named_marks,
    is_spans,
    is_words,
    word,
)

Columns = Mapping[str, Sequence[str]]
"""By role (text, text_pair, label, completion, group, ...), the names of its columns."""
_TOKENS, _TAGS = ("tokens", "words"), ("ner_tags", "tags", "pos_tags", "labels", "label")
_LABELS = ("labels", "entities", "spans", "cats", "answers")
"""Columns of lists that are used if there is no column `label`."""
_ANSWERED = ("completion", "output", "response", "answer")
_TALKS = ("messages", "conversations")
_FEWEST_MARKS = 2


@dataclass(frozen=True)
class Asked:
    """The user's settings for the data; see the fields of the dataset."""

    option: str
    """The prefix of options."""
    text: str = "text"
    text_pair: str | None = None
    label: str | None = "label"
    label_separator: str | None = None
    numeric: bool = False
    decimal: str = "."
    completion: str | None = None
    prompt: str | None = None
    group: str | None = None
    split: str | None = None
    classes: tuple[str, ...] | None = None
    skip: bool = False

    def flag(self, role: str) -> str:
        """Return the command-line option that sets the column of a role."""
        short = {"text": "--text", "label": "--label"}
        return short[role] if role in short and self.option == "file" else f"-o {self.option}.{role}=COLUMN"

    def naming(self, role: str, name: str) -> str:
        """Return the command-line option that sets this column for a role."""
        flag = self.flag(role)
        return flag.replace("COLUMN", name) if "COLUMN" in flag else f"{flag} {name}"


class Roles(NamedTuple):
    """The columns in use and their roles."""

    says: str
    columns: Columns
    form: str = ""
    """The form of the label or text values if they are not single values: spans, marks, names, chat, tokens, ..."""
    prompt: str | None = None
    """The template that builds the text from several columns."""


def find_roles(parts: Sequence[Rows], others: Sequence[Rows], asked: Asked) -> Roles:
    """Return the roles of the columns in train's files; `others` are the files of other splits.

    Raises: HarnessError: A column is missing or has unsupported content; the message says what it holds and which
        option to set.
    """
    return _Finder(parts, others, asked).find()


class _Finder:
    """Examines the columns of the first file, and their values in all files of train."""

    def __init__(self, parts: Sequence[Rows], others: Sequence[Rows], asked: Asked) -> None:
        self._every = [*parts, *others]
        self._parts, self._asked, self._rows, self._has = parts, asked, parts[0], parts[0].columns
        self._group: Columns = {"group": [self._column("group", asked.group)]} if asked.group else {}

    def find(self) -> Roles:
        """Return the roles: from the file format, the user's settings, the usual names, or the column content."""
        asked = self._asked
        if {"chosen", "rejected"} <= set(self._has) and asked.completion is None and asked.text == "text":
            prompt = "prompt" in self._has and not is_chat(self._first("chosen"))
            alone = (
                f"{asked.naming('text', 'prompt')} -o {asked.option}.completion=chosen"
                if prompt
                else asked.naming("text", "chosen")
            )
            message = (
                f"{self._rows.path}: preference pairs ('chosen', 'rejected') are not supported by any task; to train "
                "on the "
                f"preferred answers only, use {alone}"
            )
            raise harness.HarnessError(message)
        if self._rows.tagged is not None:
            words, tags = self._rows.tagged
            return Roles("tags", {"text": [words], "label": [tags], **self._group}, "tokens")
        if asked.prompt is not None or asked.completion is not None:
            return self._written(asked.text, asked.completion)
        usual = self._by_usual_names() if asked.text == "text" and "text" not in self._has else None
        return usual or self._by_text()

    def _column(self, role: str, name: str) -> str:
        return column(self._rows, name, self._asked.flag(role))

    def _first(self, name: str) -> Any:
        """Return the first non-missing value of a column; an empty list only if there is nothing else."""
        values = [value for rows in self._parts for value in rows.columns.get(name, ()) if not is_missing(value)]
        return next((value for value in values if not is_container(value) or value), values[0] if values else None)

    def _by_usual_names(self) -> Roles | None:
        """Return the roles of columns with the usual names of common formats; None if there are none."""
        has = self._has
        if talk := next((name for name in _TALKS if name in has), None):
            return Roles("completion", {"messages": [talk], **self._group}, "chat")
        output = next((name for name in _ANSWERED if name in has), None)
        prompt = next((name for name in ("instruction", "prompt") if name in has), None)
        if output and prompt:
            return self._written(prompt, output)
        if {"question", "context", "answers"} <= set(has):
            return self._questions("question", "context", "answers")
        words = next((name for name in _TOKENS if name in has and is_words(self._first(name))), None)
        return self._tagged(words) if words else None

    def _by_text(self) -> Roles:
        """Return the roles according to the content of the text column."""
        asked, rows = self._asked, self._rows
        text = self._column("text", asked.text)
        found = self._first(text)
        if is_chat(found):
            return Roles("completion", {"messages": [text], **self._group}, "chat")
        if is_words(found):
            return self._tagged(text)
        if is_container(found) and all(is_container(value) or is_missing(value) for value in self._has[text]):
            message = (
                f"{rows.path}: column {text!r} holds {describe(found)}, not text; set another column with "
                f"{asked.flag('text')}"
            )
            raise harness.HarnessError(message)
        roles = {"text": [text], **self._pair(), **self._group}
        if asked.label is None or (rows.prose and asked.label == "label"):
            return Roles("nothing", roles)
        return self._labelled(roles)

    def _pair(self) -> Columns:
        pair = self._asked.text_pair
        return {"text_pair": [self._column("text_pair", pair)]} if pair else {}

    def _written(self, text: str, output: str | None) -> Roles:
        """Return the roles of prompts, from one or several columns, and of their completions."""
        asked = self._asked
        completion: Columns = {"completion": [self._column("completion", output)]} if output is not None else {}
        template = asked.prompt
        if template is None and text == "instruction" and {"instruction", "input"} <= set(self._has):
            template = "{instruction}\n{input}"  # Alpaca's prompts consist of both
        if template is not None:
            template = template.replace("\\n", "\n").replace("\\t", "\t")
            names = self._in_template(template)
        else:
            names = [self._column("text", text)]
            both = [*names, *completion.get("completion", ())]
            if len(set(both)) > 1 and all(is_chat(self._first(name)) for name in both):
                return Roles("completion", {"messages": both, **self._group}, "chat")
            if is_chat(self._first(names[0])):
                message = (
                    f"{self._rows.path}: column {names[0]!r} holds lists that look like chat messages, which already "
                    "contain the "
                    f"answers; use only {asked.naming('text', names[0])}, without {asked.option}.completion"
                )
                raise harness.HarnessError(message)
        roles = {"text": names, **self._pair(), **completion, **self._group}
        if output is None and asked.label is not None:
            return self._labelled(roles)._replace(prompt=template)
        return Roles("completion" if completion else "nothing", roles, prompt=template)

    def _in_template(self, template: str) -> list[str]:
        """Return the columns named in a template."""
        option = f"{self._asked.option}.prompt"
        try:
            parsed = [part for part in string.Formatter().parse(template) if part[1] is not None]
        except ValueError as error:
            message = f"{option}: {error}; write column names in braces, such as '{{instruction}}'"
            raise harness.HarnessError(message) from None
        fields = [str(name) for _, name, _, _ in parsed]
        if strange := next((name for _, name, form, conversion in parsed if form or conversion), None):
            message = f"{option}: write only the column name in braces, without a format: {{{strange}}}"
            raise harness.HarnessError(message)
        if not fields:
            message = f"{option}: no column name in braces; write one, such as '{{instruction}}'"
            raise harness.HarnessError(message)
        return list(dict.fromkeys(column(self._rows, name, f"-o {option}=...") for name in fields))

    def _tagged(self, text: str) -> Roles:
        """Return the roles of lists of words and lists of tags."""
        asked, has = self._asked, self._has
        name = asked.label or "label"
        if name == "label" and name not in has:
            name = next((known for known in _TAGS if isinstance(self._first(known), list)), name)
        label = self._column("label", name)
        if not isinstance(self._first(label), list):
            message = (
                f"{self._rows.path}: column {text!r} holds lists of words, but column {label!r} holds no lists; set "
                "the column "
                f"of their tags with {asked.flag('label')}"
            )
            raise harness.HarnessError(message)
        return Roles("tags", {"text": [text], "label": [label], **self._group}, "tokens")

    def _questions(self, question: str, context: str, label: str) -> Roles:
        titled = all("title" in rows.columns for rows in self._every)
        group = self._group or ({"group": ["title"]} if titled else {})
        impossible: Columns = {"is_impossible": ["is_impossible"]} if "is_impossible" in self._has else {}
        return Roles("answers", {"text": [question], "text_pair": [context], "answers": [label], **impossible, **group})

    def _labelled(self, roles: Columns) -> Roles:
        """Return the roles for labels of whole texts, according to the kind of labels."""
        asked, given = self._asked, str(self._asked.label)
        if given not in self._has and "," in given:
            names = [self._column("label", name.strip()) for name in given.split(",") if name.strip()]
            return Roles("classes", {**roles, "label": names}, "columns")
        label = self._label(given, roles)
        found = [value for part in self._parts for value in part.columns.get(label, ()) if not is_missing(value)]
        roles = {**roles, "label": [label]}
        if held := [value for value in found if is_container(value)]:
            return self._listed(roles, found, held)
        if asked.numeric:
            return Roles("number", roles)
        if labels.are_written_lists(found):
            one = asked.label_separator is None and all(len(labels.written_list(value)) == 1 for value in found)
            return Roles("class" if one else "classes", roles, "written lists")
        return Roles("class" if asked.label_separator is None else "classes", roles)

    def _label(self, given: str, roles: Columns) -> str:
        """Return the label column; if the default name is missing, a column of lists with a usual name for labels."""
        if given == "label" and given not in self._has:
            given = next((name for name in _LABELS if is_container(self._first(name))), given)
        try:
            return self._column("label", given)
        except harness.HarnessError as error:
            marks = [name for name in self._has if name not in roles["text"] and _are_marks(self._has[name])]
            if len(marks) < _FEWEST_MARKS:
                raise
            message = f"{error}; to read columns of 0 and 1 as several labels, use --label {','.join(marks)}"
            raise harness.HarnessError(message) from None

    def _listed(self, roles: Columns, found: Sequence[Any], held: Sequence[Any]) -> Roles:
        """Return the roles for labels that are lists or objects."""
        (label,) = roles["label"]
        filled = [value for value in held if value]
        if self._asked.numeric:
            message = f"{self._rows.path}: column {label!r} holds {describe((filled or held)[0])}, not numbers"
            raise harness.HarnessError(message)
        form = _form_of_lists(filled)
        if form == "spans":
            return Roles("tags", {name: names for name, names in roles.items() if name != "text_pair"}, form)
        if form == "marks":
            return Roles("classes", roles, form)
        if form == "named marks":
            one = self._asked.label_separator is None and all(sum(map(bool, value.values())) == 1 for value in held)
            return Roles("class" if one else "classes", roles, form)
        if form == "names":
            one = len(held) == len(found) and all(len(value) == 1 for value in held)
            return Roles("class" if one and self._asked.label_separator is None else "classes", roles, "lists")
        if form == "answers":
            context = roles["text_pair"][0] if "text_pair" in roles else "context"
            if context in self._has:
                return self._questions(roles["text"][0], context, label)
            hint = f"SQuAD answers; set the column of the passages with {self._asked.flag('text_pair')}"
        else:
            what = describe(filled[0]) if filled else "only empty lists"
            hint = f"{what}, not labels; set another column with {self._asked.flag('label')}"
        message = f"{self._rows.path}: column {label!r} holds {hint}"
        raise harness.HarnessError(message)


def _form_of_lists(values: Sequence[Any]) -> str | None:
    """Return the form of labels that are lists or objects: `answers`, `marks`, `named marks`, `spans`, `names` or None."""
    if not values:
        return None
    forms: Sequence[tuple[str, Callable[[Any], bool]]] = (
        ("answers", is_answers),
        ("marks", lambda value: is_marks(value) and len(value) == len(values[0])),
        ("named marks", is_named_marks),
        ("spans", is_spans),
        (
            "names",
            lambda value: (
                isinstance(value, list) and not any(is_container(part) or is_fraction(part) for part in value)
            ),
        ),
    )
    return next((name for name, holds in forms if all(holds(value) for value in values)), None)


def _are_marks(values: Sequence[Any]) -> bool:
    words = {word(value).strip() for value in values if not is_container(value) and not is_missing(value)}
    return words == {"0", "1"}
