"""Presidential addresses labelled by period, from an installed package."""

from bisect import bisect_right
from typing import TYPE_CHECKING

from pydantic import Field, PositiveInt

import harness
from harness_plugins.datasets import _sotu

if TYPE_CHECKING:
    pass

_FIRST_YEARS = (1790, 1826, 1861, 1901, 1946, 1981)
_CLASSES = ("1790-1825", "1826-1860", "1861-1900", "1901-1945", "1946-1980", "1981-today")


class SotuEra(harness.Dataset):
    """Paragraphs of the State of the Union addresses, labelled by one of six periods."""

    name = "sotu-era"
    task = "text-classification"
    watch_task = "probe"
    default_watch = True

    limit: dict[harness.Split, PositiveInt] = Field(
        {"train": 600, "validation": 100, "test": 300}, description="maximum number of rows per split"
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

        items = list(_sotu.paragraphs())
        labels = [bisect_right(_FIRST_YEARS, item.year) - 1 for item in items]
        train = datasets.Dataset.from_dict({"text": [item.text for item in items], "label": labels})
        return harness.Data({"train": train}, harness.Facts(_CLASSES, _sotu.LICENCE, _sotu.CITATION))


@harness.hookimpl
def harness_datasets() -> list[type[harness.Dataset]]:
    """Register the dataset."""
    return [SotuEra]
