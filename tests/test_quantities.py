import pytest

from harness.errors import HarnessError
from harness.quantities import (
    Share,
    parse_duration,
    parse_number,
    parse_price,
    parse_share,
    parse_size,
    write_duration,
    write_number,
    write_size,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [("16GB", 16_000_000_000), ("800MB", 800_000_000), ("2GiB", 2_147_483_648), ("1.5 kb", 1500), ("7B", 7)],
)
def test_a_size_is_bytes(text, value):
    assert parse_size(text) == value


@pytest.mark.parametrize(("text", "value"), [("300s", 300), ("20m", 1200), ("2h", 7200), ("1h30m", 5400), ("1.5 min", 90), ("250ms", 0.25)])  # fmt: skip
def test_a_duration_is_seconds(text, value):
    assert parse_duration(text) == pytest.approx(value)


def test_a_price_is_money_per_second():
    assert parse_price("3600/h") == 1
    assert parse_price("2.50/h") == pytest.approx(2.5 / 3600)
    assert parse_price("0.06 / min") == pytest.approx(0.001)


def test_a_share_says_whether_it_is_relative():
    assert parse_share("0.98x") == Share(0.98, relative=True)
    assert parse_share("0.85") == Share(0.85, relative=False)
    assert parse_share("-0.1") == Share(-0.1, relative=False)


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (parse_price, "2.50", "--price '2.50' is not a price per unit of time, such as --price 2.50/h"),
        (parse_price, "2.50/week", "--price '2.50/week' is not a price per unit of time, such as --price 2.50/h"),
        (parse_size, "16", "size '16' is not a size with a unit, such as 16GB, 800MB or 2GiB"),
        (parse_size, "-1GB", "size '-1GB' is not a size with a unit, such as 16GB, 800MB or 2GiB"),
        (parse_size, "16XB", "size '16XB' is not a size with a unit, such as 16GB, 800MB or 2GiB"),
        (parse_duration, "20", "duration '20' is not a duration with a unit, such as 300s, 20m or 2h"),
        (parse_duration, "m", "duration 'm' is not a duration with a unit, such as 300s, 20m or 2h"),
        (parse_number, "nan", "number 'nan' is not a number, such as 0.02"),
        (parse_share, "98%", "share '98%' is neither a value, such as 0.85, nor a multiple of the reference's value, such as 0.98x"),
        (parse_share, "x", "share 'x' is neither a value, such as 0.85, nor a multiple of the reference's value, such as 0.98x"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_line_that_says_how_to_write_it(parse, text, message):
    with pytest.raises(HarnessError) as error:
        parse(text)
    assert str(error.value) == message


def test_the_option_is_named():
    with pytest.raises(HarnessError, match=r"^--max-memory '16' is not a size"):
        parse_size("16", "--max-memory")


@pytest.mark.parametrize("value", [0.0413, 12.5, 5430.0, 0.0, 2.5e9])
def test_what_is_written_can_be_read_again(value):
    assert parse_number(write_number(value)) == value
    assert parse_size(write_size(value)) == pytest.approx(round(value), abs=0.5)
    assert parse_duration(write_duration(value)) == pytest.approx(value, rel=0.01)


def test_quantities_are_written_with_three_digits():
    assert [write_size(value) for value in (0, 999, 16e9, 1_234_567)] == ["0 B", "999 B", "16 GB", "1.23 MB"]
    assert [write_duration(value) for value in (0, 12.3456, 90, 1200, 36000)] == ["0 s", "12.3 s", "90 s", "20 min", "10 h"]  # fmt: skip
    assert [write_number(value) for value in (0.02, 1234.5, 0.00012345)] == ["0.02", "1230", "0.000123"]
