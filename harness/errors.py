"""What a user can fix.

A `HarnessError` is printed in one line, without a traceback: what is wrong, where, how to mend it. Everything else is a
defect of the program or of a plugin and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HarnessError(Exception):
    """A mistake the user can mend; the message says how."""


class DamagedError(HarnessError):
    """A stored run that is not as it was written: nothing may be made of it."""


class UndefinedError(Exception):
    """A measurement that has no value here; the message is the reason a table prints in a footnote."""


class MetricError(UndefinedError):
    """A metric that failed where it should have said that it is undefined: its defect, which is not remembered."""


class PrunedError(Exception):
    """Ends a trial that is not worth going on with; the message says why."""


def unknown(kind: str, name: str, choices: Iterable[str]) -> HarnessError:
    """Return the error for a name that is not among `choices`, naming the nearest match."""
    known = sorted(choices)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"choose one of: {', '.join(known) or 'none installed'}"
    return HarnessError(f"unknown {kind} {name!r}: {hint}")
