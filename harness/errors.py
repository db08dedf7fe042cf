"""Error types.

A `HarnessError` is printed as one line without a traceback: what is wrong, where, and how to fix it. Any other exception
is a bug in the program or a plugin and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HarnessError(Exception):
    """An error that the user can fix; the message says how."""


class DamagedError(HarnessError):
    """A stored run that was changed or damaged after it was written, and must not be used."""


class UndefinedError(Exception):
    """An undefined measurement; the message is the reason shown in the table's footnote."""


class MetricError(UndefinedError):
    """An unexpected failure of a metric: a bug in the metric, so the result is not cached."""


class PrunedError(Exception):
    """Stops an unpromising trial; the message says why."""


def unknown(kind: str, name: str, choices: Iterable[str]) -> HarnessError:
    """Return the error for a name that is not among `choices`, with the closest match."""
    known = sorted(choices)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"choose one of: {', '.join(known) or 'none installed'}"
    return HarnessError(f"unknown {kind} {name!r}: {hint}")
