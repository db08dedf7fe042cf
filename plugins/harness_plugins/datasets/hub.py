"""A dataset of the Hugging Face hub."""

from typing import TYPE_CHECKING, Any

from pydantic import Field, JsonValue, PrivateAttr

import harness

if TYPE_CHECKING:
    import datasets

_NAMES: dict[harness.Split, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "valid", "dev"),
    "test": ("test",),
}


class Hub(harness.Dataset):
    """A dataset of the Hugging Face hub, pinned: `hub:<id>@<revision>`."""

    name = "hub"
    task = "text-classification"
    watch_task = "probe"
    argument = "id"

    id: str = Field(description="the dataset's id, such as cornell-movie-review-data/rotten_tomatoes")
    revision: str = Field(description="a commit hash, so that the run can be repeated")
    subset: str | None = Field(None, description="which configuration of the dataset")
    text: str = Field("text", description="column of the text")
    text_pair: str | None = Field(None, description="column of a second text, for pairs")
    label: str | None = Field("label", description="column of the label; blank: the texts have none")

    _classes: tuple[str, ...] | None = PrivateAttr(None)

    @classmethod
    def parse_argument(cls, text: str) -> dict[str, JsonValue]:
        """Return the parameters that `hub:<id>@<revision>` stands for."""
        name, at, revision = text.partition("@")
        if not (name and at and revision):
            message = f"'hub:{text}' names no revision: write hub:<id>@<revision>, so that the run can be repeated"
            raise ValueError(message)
        return {"id": name, "revision": revision}

    def fingerprint(self) -> str:
        """Return what the hub binds to the content."""
        return "/".join([self.id, self.revision, *([self.subset] if self.subset else [])])

    def read(self) -> "dict[harness.Split, datasets.Dataset]":
        """Return the splits, fetched or from the hub's cache."""
        import datasets

        try:
            found = datasets.load_dataset(self.id, self.subset, revision=self.revision)
        except (OSError, ValueError) as error:
            message = f"dataset 'hub:{self.id}@{self.revision}' cannot be loaded: {' '.join(str(error).split())}"
            raise harness.HarnessError(message) from None
        named = {name: next((part for part in parts if part in found), None) for name, parts in _NAMES.items()}
        rows = {
            name: found[part] for name, part in named.items() if part is not None and not self._unlabelled(found[part])
        }
        if self.label is not None and "train" in rows:
            self._classes = self._find_classes(rows)
        return {name: self._columns(split) for name, split in rows.items()}

    def facts(self) -> harness.Facts:
        """Return the class names."""
        return harness.Facts(self._classes)

    def _unlabelled(self, rows: "datasets.Dataset") -> bool:
        """Return whether a split hides its labels, as the test splits of competitions do."""
        return self.label is not None and self.label in rows.column_names and set(rows[self.label][:]) == {-1}

    def _find_classes(self, splits: "dict[harness.Split, datasets.Dataset]") -> tuple[str, ...]:
        """Return the names the hub gives the labels, or those that occur in train."""
        import datasets

        self._check_column(splits["train"], str(self.label))
        feature = splits["train"].features[str(self.label)]
        if isinstance(feature, datasets.ClassLabel):
            return tuple(feature.names)
        values = {name: set(split[self.label][:]) for name, split in splits.items()}
        for name, seen in values.items():
            if strange := sorted(map(str, seen - values["train"])):
                message = (
                    f"dataset 'hub:{self.id}': the {name} split has labels that train lacks: {', '.join(strange[:3])}"
                )
                raise harness.HarnessError(message)
        return tuple(str(label) for label in sorted(values["train"]))

    def _columns(self, rows: "datasets.Dataset") -> "datasets.Dataset":
        import datasets

        columns: dict[str, list[Any]] = {}
        for ours, theirs in (("text", self.text), ("text_pair", self.text_pair)):
            if theirs is not None:
                self._check_column(rows, theirs)
                columns[ours] = rows[theirs][:]
                if blank := sum(not isinstance(text, str) or not text.strip() for text in columns[ours]):
                    message = f"dataset 'hub:{self.id}': {blank} rows have no text in the column {theirs!r}"
                    raise harness.HarnessError(message)
        if self.label is not None:
            numbers = {name: number for number, name in enumerate(self._classes or ())}
            coded = isinstance(rows.features[self.label], datasets.ClassLabel)
            columns["label"] = [label if coded else numbers[str(label)] for label in rows[self.label][:]]
            if min(columns["label"], default=0) < 0:
                message = f"dataset 'hub:{self.id}': some rows have no label (-1): leave them out"
                raise harness.HarnessError(message)
        return datasets.Dataset.from_dict(columns)

    def _check_column(self, rows: "datasets.Dataset", column: str) -> None:
        if column not in rows.column_names:
            message = f"dataset 'hub:{self.id}': {harness.unknown('column', column, rows.column_names)}"
            raise harness.HarnessError(message)


@harness.hookimpl
def harness_datasets() -> list[type[harness.Dataset]]:
    """Offer the dataset."""
    return [Hub]
