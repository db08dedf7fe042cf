"""Format numbers and settings as text: the default digits in tables; reporters may use others."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from harness.analysis.statistics import Interval
from harness.reports import Column, Quantity


def write_value(column: Column, value: float | None, interval: Interval | None = None) -> str:
    """Return a column's value with its interval, such as `0.683 [0.630, 0.731]`; empty for None.

    A difference has a symmetric interval, written as `±` half of its width, unless that is zero.
    """
    if value is None:
        return ""
    write = WRITERS[column.quantity]
    if interval is None or not interval.half_width:
        return write(value)
    if column.quantity == "difference":
        return f"{write(value)} ± {write(interval.half_width).lstrip('+')}"
    return f"{write(value)} [{write(interval.low)}, {write(interval.high)}]"


def write_beside(column: Column, beside: Mapping[str, float]) -> str:
    """Return the details shown next to a column's value, such as `0.850 → 0.800` or `1.2 s warm`."""
    write = WRITERS[column.quantity]
    if {"before", "after"} <= beside.keys():
        return f"{three_decimals(beside['before'])} → {three_decimals(beside['after'])}"
    return ", ".join(_BESIDE[name](write, value) for name, value in beside.items())


def three_decimals(value: float) -> str:
    """Return a score as text."""
    return f"{value:.3f}"


def signed(value: float) -> str:
    """Return a difference with its sign; plain 0 if it is zero."""
    return f"{value:+.3f}" if value else "0"


def in_seconds(value: float) -> str:
    """Return a time as text."""
    return f"{value:,.1f} s"


def plain(unit: str = "") -> Callable[[float], str]:
    """Return a function that writes three significant digits without prefix or exponent."""

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
    """Return a function that writes a quantity with this unit."""

    def write(value: float) -> str:
        number = count(value)
        return f"{number}{unit}" if number[-1].isalpha() else f"{number} {unit}"

    return write


def setting(value: object) -> str:
    """Return a setting as text."""
    # Values found by a hyperparameter search have more digits than are useful.
    return f"{value:.4g}" if isinstance(value, float) and f"{value:g}" != f"{value}" else f"{value}"


def blank(value: object) -> str:
    """Return a setting as text, or a dash if it is not set."""
    return "-" if value is None else setting(value)


WRITERS: Mapping[Quantity, Callable[[float], str]] = {
    "score": three_decimals,
    "difference": signed,
    "parameters": count,
    "operations": in_unit("FLOP"),
    "bytes": in_unit("B"),
    "seconds": in_seconds,
    "energy": in_unit("J"),
    "money": plain(),
    "latency": plain(" ms"),
    "throughput": plain(" items/s"),
}
"""The function that writes each quantity."""

_BESIDE: Mapping[str, Callable[[Callable[[float], str], float], str]] = {
    "share": lambda _, value: f"{value:.2%}",
    "warm": lambda write, value: f"{write(value)} warm",
    "reserved": lambda write, value: f"{write(value)} reserved",
    "watt_hours": lambda _, value: in_unit("Wh")(value),
    "p95": lambda write, value: f"p95 {write(value)}",
    "apart": lambda write, value: f"apart {write(value)}",
}
"""The function that writes each detail next to a value, given the function that writes the value."""
