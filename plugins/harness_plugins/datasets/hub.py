"""A dataset from the Hugging Face Hub."""

from typing import TYPE_CHECKING

from pydantic import Field, JsonValue

import harness
from harness_plugins.datasets._columns import Columns

if TYPE_CHECKING:
    import datasets

    from harness_plugins.reading.rows import Rows

_NAMES: dict[harness.Split, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "valid", "dev"),
    "test": ("test",),
}


class Hub(Columns):
    """A dataset from the Hugging Face Hub at a fixed revision: `hub:<id>@<revision>`."""

    name = "hub"
    version = 2
    task = "text-classification"
    watch_task = "probe"
    argument = "id"

    id: str = Field(description="dataset id, such as cornell-movie-review-data/rotten_tomatoes")
    revision: str = Field(description="commit hash, so that the run is reproducible")
    subset: str | None = Field(None, description="configuration of the dataset")

    @classmethod
    def parse_argument(cls, text: str) -> dict[str, JsonValue]:
        """Return the parameters that `hub:<id>@<revision>` stands for."""
        name, at, revision = text.partition("@")
        if not (name and at and revision):
            message = f"'hub:{text}' has no revision: write hub:<id>@<revision>, so that the run is reproducible"
            raise ValueError(message)
        return {"id": name, "revision": revision}

    def fingerprint(self) -> str:
        """Return the id, revision and subset, which determine the content."""
        return "/".join([self.id, self.revision, *([self.subset] if self.subset else [])])

    def rows(self) -> "dict[harness.Split, list[Rows]]":
        """Return the rows of the splits, downloaded or from the Hub's cache."""
        import datasets

        from harness_plugins.reading import arrow

        try:
            found = datasets.load_dataset(self.id, self.subset, revision=self.revision)
        except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
            message = f"dataset 'hub:{self.id}@{self.revision}' cannot be loaded: {' '.join(str(error).split())}"
            raise harness.HarnessError(message) from None
        named = {name: next((part for part in parts if part in found), None) for name, parts in _NAMES.items()}
        if self.split is not None:
            named = {"train": named["train"]}
        return {
            name: [arrow.of_dataset(f"dataset 'hub:{self.id}'", found[part])]
            for name, part in named.items()
            if part is not None and not self._unlabelled(found[part])
        }

    def _unlabelled(self, rows: "datasets.Dataset") -> bool:
        """Return whether the labels of a split are hidden, as in the test splits of competitions."""
        return self.label in rows.column_names and all(label == -1 for label in rows[str(self.label)][:])


@harness.hookimpl
def harness_datasets() -> list[type[harness.Dataset]]:
    """Register the dataset."""
    return [Hub]
