import pytest

from harness import HarnessError
from harness.cli.quantities import parse_price
from harness.cli.report import report


@pytest.mark.parametrize(
    ("text", "an_hour"), [("2.50/h", 2.5), (" 0.04 / min", 2.4), ("0.001/s", 3.6), ("48/d", 2), (".5/H", 0.5)]
)
def test_a_price_is_money_per_second(text, an_hour):
    assert parse_price(text) * 3600 == pytest.approx(an_hour)


@pytest.mark.parametrize("text", ["2.50", "/h", "2.50/year", "-1/h", "", "two/h"])
def test_a_price_without_a_unit_says_how_to_write_it(text):
    with pytest.raises(HarnessError, match=r"a price needs a unit: write --price 2\.50/h"):
        parse_price(text)


def test_money_goes_with_the_comparison_and_not_with_the_matrix(tmp_path):
    with pytest.raises(HarnessError, match="--price and --matrix exclude each other"):
        report(target="data.csv", results=tmp_path, matrix=True, price="1/h")
