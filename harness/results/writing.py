"""Numbers, settings and components as a table writes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from harness.records import ComponentRef
from harness.results.statistics import Mean


def with_interval(result: Mean, write: Callable[[float], str]) -> str:
    """Return a mean with half of its interval, if it has one that is not nothing."""
    text = write(result.mean)
    if not result.half_width:
        return text
    return f"{text} ± {write(result.half_width).lstrip('+')}"


def three_decimals(value: float) -> str:
    """Return a score."""
    return f"{value:.3f}"


def signed(value: float) -> str:
    """Return a difference; plain 0 where there is none."""
    return f"{value:+.3f}" if value else "0"


def in_seconds(value: float) -> str:
    """Return a time."""
    return f"{value:,.1f} s"


def plain(unit: str = "") -> Callable[[float], str]:
    """Return how to write three significant digits without prefix or exponent."""

    def write(value: float) -> str:
        return np.format_float_positional(float(f"{value:.3g}"), trim="-") + unit

    return write


def count(value: float) -> str:
    """Return a number with three significant digits and an SI prefix."""
    for factor, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if round(abs(value) / factor, 3) >= 1:
            return f"{value / factor:.3g} {prefix}"
    return f"{value:.3g}"


def in_unit(unit: str) -> Callable[[float], str]:
    """Return how to write a quantity of this unit."""

    def write(value: float) -> str:
        number = count(value)
        return f"{number}{unit}" if number[-1].isalpha() else f"{number} {unit}"

    return write


def setting(value: object) -> str:
    """Return a setting as it is read."""
    # Those that a search has found have more digits than anybody reads.
    return f"{value:.4g}" if isinstance(value, float) and f"{value:g}" != f"{value}" else f"{value}"


def blank(value: object) -> str:
    """Return a setting, or a dash where it is left open."""
    return "-" if value is None else setting(value)


def called(reference: ComponentRef) -> str:
    """Return a component's name, with the file or folder it was read from."""
    given = [place if isinstance(place, list) else [place] for place in reference.location.values()]
    places = [Path(str(place)).name for paths in given for place in paths if place is not None]
    return " ".join([reference.name, *places])


def distinct(references: Sequence[ComponentRef], name: Callable[[ComponentRef], str]) -> list[str]:
    """Return each component by name; of different ones with the same name each by the file it was read from, else by number."""
    different = [one for at, one in enumerate(references) if one not in references[:at]]
    plain = [name(one) for one in different]
    names = [called(one) if plain.count(given) > 1 else given for one, given in zip(different, plain, strict=True)]
    numbers = [names[: at + 1].count(given) for at, given in enumerate(names)]
    names = [given if number == 1 else f"{given} {number}" for given, number in zip(names, numbers, strict=True)]
    return [names[different.index(one)] for one in references]
