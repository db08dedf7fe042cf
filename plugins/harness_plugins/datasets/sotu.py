"""Presidential addresses as unlabelled prose, from an installed package."""

from typing import TYPE_CHECKING

from pydantic import Field, PositiveInt

import harness
from harness_plugins.datasets import _sotu

if TYPE_CHECKING:
    pass


class Sotu(harness.Dataset):
    """Paragraphs of the State of the Union addresses since 1790, unlabelled prose, from an installed package."""

    name = "sotu"
    task = "language-modelling"
    watch_task = "representation"
    default_watch = True

    limit: dict[harness.Split, PositiveInt] = Field(
        {"train": 500, "validation": 100, "test": 200}, description="maximum number of rows per split"
    )

    def missing(self) -> str | None:
        """Return what must be installed first."""
        return _sotu.missing()

    def fingerprint(self) -> str:
        """Return one hash over all speeches."""
        return _sotu.fingerprint()

    def read(self) -> harness.Data:
        """Return all paragraphs as `train`."""
        import datasets

        train = datasets.Dataset.from_dict({"text": [item.text for item in _sotu.paragraphs()]})
        return harness.Data({"train": train}, harness.Facts(None, _sotu.LICENCE, _sotu.CITATION))


@harness.hookimpl
def harness_datasets() -> list[type[harness.Dataset]]:
    """Register the dataset."""
    return [Sotu]
