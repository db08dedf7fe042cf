"""Shared by datasets with named columns: the column settings, and the conversion of rows to a task's data."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

import harness

if TYPE_CHECKING:
    from harness_plugins.reading.roles import Asked
    from harness_plugins.reading.rows import Rows
    from harness_plugins.reading.understand import Understood

_TASKS: Mapping[str, tuple[str, str]] = {
    "class": ("text-classification", "probe"),
    "classes": ("multi-label-classification", "representation"),
    "number": ("regression", "similarity"),
    "tags": ("token-classification", "representation"),
    "words": ("tagging", "representation"),
    "answers": ("question-answering", "representation"),
    "completion": ("completion", "representation"),
    "nothing": ("language-modelling", "representation"),
}
"""For each kind of label, the task used for training and the task used for watching."""
_kept: dict[str, "Understood"] = {}
"""The data read last, so that asking for the task and then for the data reads the files once."""


class Columns(harness.Dataset):
    """Rows with named columns."""

    text: str = Field(
        "text",
        description="column of the text, chat messages or words; for CoNLL, its number (default: the first column)",
    )
    text_pair: str | None = Field(None, description="column of the second text of a pair")
    label: str | None = Field(
        "label",
        description="column of the label; or several columns of 0 and 1, separated by commas; for CoNLL, the "
        "number of the tag column; "
        "blank: no labels",
    )
    label_separator: str | None = Field(
        None, description="separator between the labels of a text; default: one label per text"
    )
    numeric: bool = Field(False, description="the label is a number (regression, similarity), not a class")
    decimal: Literal[".", ","] = Field(".", description="decimal separator of numbers")
    completion: str | None = Field(None, description="column of the completion to generate after the prompt (the text)")
    prompt: str | None = Field(
        None,
        description="template that builds the text from several columns, such as '{instruction}\\n{input}'; "
        "default: the column `text`",
    )
    group: str | None = Field(
        None,
        description="column by which rows are grouped, such as a user: rows with the same value go to the same split, and intervals "
        "count them as one",
    )
    classes: tuple[str, ...] | None = Field(
        None, description="class names in the order of their numbers; default: sorted"
    )
    split: str | None = Field(None, description="column that names each row's split: train, validation or test")
    on_bad_rows: Literal["error", "skip"] = Field(
        "error",
        description="rows without text, with an invalid label and so on: stop with an error, or skip and count them",
    )

    @abstractmethod
    def rows(self) -> "Mapping[harness.Split, Sequence[Rows]]":
        """Return the rows of each split's files.

        Raises:
            HarnessError: A file cannot be read; the message says where and why.
        """

    def task_for(self, *, watched: bool) -> str:
        """Return the task that fits the labels of the data."""
        says = self._understand().says
        if says == "number" and self.text_pair is None:
            return "representation" if watched else "regression"
        return _TASKS[says][watched]

    def read(self) -> harness.Data:
        """Return the available splits, the labels found and notes on how the data was read."""
        import datasets

        understood = self._understand()
        _kept.clear()
        splits = {name: datasets.Dataset.from_dict(dict(columns)) for name, columns in understood.splits.items()}
        return harness.Data(splits, understood.facts)

    def _understand(self) -> "Understood":
        from harness_plugins.reading.understand import understand

        key = f"{self.name} {self.fingerprint()} {self.model_dump_json()}"
        if key not in _kept:
            _kept.clear()
            _kept[key] = understand(self.rows(), self._asked())
        return _kept[key]

    def _asked(self) -> "Asked":
        from harness_plugins.reading.roles import Asked

        return Asked(
            self.name,
            self.text,
            self.text_pair,
            self.label,
            self.label_separator,
            self.numeric,
            self.decimal,
            self.completion,
            self.prompt,
            self.group,
            self.split,
            self.classes,
            skip=self.on_bad_rows == "skip",
        )
