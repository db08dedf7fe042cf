"""What datasets of a person's own rows share: how columns are named, and how what they hold becomes a task's data."""

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
"""For what a row says of its text, the task it is tuned on and the one it is watched by."""
_kept: dict[str, "Understood"] = {}
"""What was read last, so that asking for the task and then for the data reads once."""


class Columns(harness.Dataset):
    """Rows with named columns."""

    text: str = Field(
        "text", description="column of the text, or of chat messages or of words; in CoNLL by number (blank: the first)"
    )
    text_pair: str | None = Field(None, description="column of a second text, for pairs")
    label: str | None = Field(
        "label",
        description="column of the label, several columns of 0 and 1 with commas between, or, in CoNLL, the tags' number; "
        "blank: the texts have none",
    )
    label_separator: str | None = Field(
        None, description="what separates the labels of a text that may have several; blank: each has one"
    )
    numeric: bool = Field(False, description="the label is a number, for regression or similarity, and not a class")
    decimal: Literal[".", ","] = Field(".", description="what separates a number's fraction")
    completion: str | None = Field(None, description="column of what is to be written after the text, the prompt")
    prompt: str | None = Field(
        None, description="a text made of several columns, such as '{instruction}\\n{input}'; blank: the column `text`"
    )
    group: str | None = Field(None, description="column whose rows of one value stay together where a split is carved")
    classes: tuple[str, ...] | None = Field(None, description="labels in the order of their numbers; blank: sorted")
    split: str | None = Field(None, description="column that says train, validation or test")
    on_bad_rows: Literal["error", "skip"] = Field(
        "error", description="rows without a text, with a label that is none, ...: an error, or left out and counted"
    )

    @abstractmethod
    def rows(self) -> "Mapping[harness.Split, Sequence[Rows]]":
        """Return the rows of each split's files.

        Raises:
            HarnessError: They cannot be read; says where and why.
        """

    def task_for(self, *, watched: bool) -> str:
        """Return the task that suits what a row says of its text."""
        says = self._understand().says
        if says == "number" and self.text_pair is None:
            return "representation" if watched else "regression"
        return _TASKS[says][watched]

    def read(self) -> harness.Data:
        """Return the splits there are, with the labels that were found and how the data was read."""
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
