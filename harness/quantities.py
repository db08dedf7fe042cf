"""Parse and format quantities: sizes, durations, prices, numbers and shares of a reference."""

from __future__ import annotations

import re
from typing import NamedTuple

from harness.errors import HarnessError

_SIZES = {"b": 1, **{f"{prefix}b": 1000**power for power, prefix in enumerate("kmgt", 1)}} | {
    f"{prefix}ib": 1024**power for power, prefix in enumerate("kmgt", 1)
}
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER = r"(\d+(?:\.\d+)?|\.\d+)"


class Share(NamedTuple):
    """A number, or a multiple of the reference's value."""

    value: float
    relative: bool
    """Whether it was written with an `x`, as in `0.98x`."""


def parse_size(text: str, option: str = "size") -> int:
    """Return a number of bytes: `16GB`, `800MB`, `2GiB`; upper or lower case.

    Args:
        text: The text to parse.
        option: The name of the option, for the error message.

    Raises:
        HarnessError: It is not a number with a unit.
    """
    found = re.fullmatch(rf"{_NUMBER}\s*([a-z]+)", text.strip().lower())
    if found is None or found[2] not in _SIZES:
        message = f"{option} {text!r} is not a size with a unit, such as 16GB, 800MB or 2GiB"
        raise HarnessError(message)
    size: int = round(float(found[1]) * _SIZES[found[2]])
    return size


def parse_duration(text: str, option: str = "duration") -> float:
    """Return seconds: `300s`, `20m`, `2h`, `1h30m`.

    Args:
        text: The text to parse.
        option: The name of the option, for the error message.

    Raises:
        HarnessError: It is not a number with a unit.
    """
    part = rf"{_NUMBER}\s*({'|'.join(sorted(_SECONDS, key=len, reverse=True))})\s*"
    whole = text.strip().lower()
    if re.fullmatch(rf"(?:{part})+", whole) is None:
        message = f"{option} {text!r} is not a duration with a unit, such as 300s, 20m or 2h"
        raise HarnessError(message)
    return sum(float(number) * _SECONDS[unit] for number, unit in re.findall(part, whole))


def parse_price(text: str, option: str = "--price") -> float:
    """Return a price per second: `2.50/h`, `0.04/min`, in any currency.

    Args:
        text: The text to parse.
        option: The name of the option, for the error message.

    Raises:
        HarnessError: It is not an amount per unit of time.
    """
    found = re.fullmatch(rf"{_NUMBER}\s*/\s*([a-z]+)", text.strip().lower())
    if found is None or found[2] not in _SECONDS:
        message = f"{option} {text!r} is not a price per unit of time, such as {option} 2.50/h"
        raise HarnessError(message)
    return float(found[1]) / _SECONDS[found[2]]


def parse_number(text: str, option: str = "number") -> float:
    """Return a finite number.

    Args:
        text: The text to parse.
        option: The name of the option, for the error message.

    Raises:
        HarnessError: It is not a number.
    """
    if re.fullmatch(rf"[+-]?{_NUMBER}(?:e[+-]?\d+)?", text.strip().lower()) is None:
        message = f"{option} {text!r} is not a number, such as 0.02"
        raise HarnessError(message)
    return float(text)


def parse_share(text: str, option: str = "share") -> Share:
    """Return a number, `0.85`, or a multiple of the reference's value, `0.98x`.

    Args:
        text: The text to parse.
        option: The name of the option, for the error message.

    Raises:
        HarnessError: It is neither.
    """
    whole = text.strip().lower()
    relative = whole.endswith("x")
    try:
        return Share(parse_number(whole.removesuffix("x"), option), relative)
    except HarnessError:
        message = (
            f"{option} {text!r} is neither a value, such as 0.85, nor a multiple of the reference's value, such as "
            "0.98x"
        )
        raise HarnessError(message) from None


def write_number(value: float) -> str:
    """Return a number with three significant digits; only numbers below 0.0001 have an exponent."""
    digits = f"{value:.3g}"
    return f"{float(digits):.0f}" if abs(value) >= 1000 else digits


def write_size(value: float) -> str:
    """Return a number of bytes with three significant digits: `16 GB`."""
    for factor, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if round(value / factor, 3) >= 1:
            return f"{write_number(value / factor)} {unit}"
    return f"{write_number(value)} B"


def write_duration(value: float) -> str:
    """Return seconds with three significant digits: `12.5 s`, `41.2 min`, `3.5 h`."""
    for factor, unit in ((3600, "h"), (60, "min")):
        if value >= 10 * factor:
            return f"{write_number(value / factor)} {unit}"
    return f"{write_number(value)} s"
