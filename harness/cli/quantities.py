"""Quantities as people write them."""

from __future__ import annotations

import re

from harness.errors import HarnessError

_SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def parse_price(text: str, option: str = "--price") -> float:
    """Return money per second: `2.50/h`, `0.04/min`. The currency is the user's own.

    Args:
        text: What was typed.
        option: The option it was typed for, as the message names it.

    Raises:
        HarnessError: It is not an amount per unit of time.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)\s*/\s*([a-z]+)", text.strip().lower())
    if found is None or found[2] not in _SECONDS:
        message = f"{option} {text!r} is not a price per time: a price needs a unit: write {option} 2.50/h"
        raise HarnessError(message)
    return float(found[1]) / _SECONDS[found[2]]
