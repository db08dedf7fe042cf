"""A dataset of the Hugging Face hub."""

from typing import TYPE_CHECKING

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
        """Return the revision, which the hub binds to the content."""
        return self.revision

    def read(self) -> "dict[harness.Split, datasets.Dataset]":
        """Return the splits, fetched or from the hub's cache."""
        import datasets

        try:
            found = datasets.load_dataset(self.id, self.subset, revision=self.revision)
        except (OSError, ValueError) as error:
            message = f"dataset 'hub:{self.id}@{self.revision}' cannot be loaded: {' '.join(str(error).split())}"
            raise harness.HarnessError(message) from None
        splits = {}
        for name, candidates in _NAMES.items():
            rows = next((found[candidate] for candidate in candidates if candidate in found), None)
            if rows is not None and not self._unlabelled(rows):
                splits[name] = self._columns(rows)
        return splits

    def facts(self) -> harness.Facts:
        """Return the class names."""
        return harness.Facts(self._classes)

    def _unlabelled(self, rows: "datasets.Dataset") -> bool:
        """Return whether a split hides its labels, as the test splits of competitions do."""
        return self.label is not None and self.label in rows.column_names and set(rows[self.label][:]) == {-1}

    def _columns(self, rows: "datasets.Dataset") -> "datasets.Dataset":
        import datasets

        wanted = {"text": self.text, "text_pair": self.text_pair, "label": self.label}
        used = {ours: theirs for ours, theirs in wanted.items() if theirs is not None}
        for theirs in used.values():
            if theirs not in rows.column_names:
                message = f"dataset 'hub:{self.id}': {harness.unknown('column', theirs, rows.column_names)}"
                raise harness.HarnessError(message)
        if self.label is not None:
            feature = rows.features[self.label]
            if not isinstance(feature, datasets.ClassLabel):
                rows = rows.class_encode_column(self.label)
                feature = rows.features[self.label]
            if self._classes not in (None, tuple(feature.names)):
                message = f"dataset 'hub:{self.id}': the splits have different labels"
                raise harness.HarnessError(message)
            self._classes = tuple(feature.names)
        return datasets.Dataset.from_dict({ours: rows[theirs][:] for ours, theirs in used.items()})


@harness.hookimpl
def harness_datasets() -> list[type[harness.Dataset]]:
    """Offer the dataset."""
    return [Hub]
