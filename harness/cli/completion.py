"""Shell completion of names: installed components and stored runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from harness.catalog import KINDS, PLURALS, load_catalog
from harness.errors import HarnessError


def names(kind: str) -> Callable[[str], list[tuple[str, str]]]:
    """Return a completer for component names of a kind; after a comma it completes the next name."""

    def complete(incomplete: str) -> list[tuple[str, str]]:
        try:
            catalog = load_catalog()
        except HarnessError:
            return []
        before, comma, last = incomplete.rpartition(",")
        return [
            (f"{before}{comma}{name}", offer.component.about().partition("\n")[0])
            for name, offer in sorted(catalog.offers[kind].items())
            if name.startswith(last)
        ]

    return complete


def kinds(incomplete: str) -> list[str]:
    """Return the component kinds that start with the given text."""
    return [name for name in (*KINDS, *PLURALS.values()) if name.startswith(incomplete)]


def runs(incomplete: str) -> list[tuple[str, str]]:
    """Return the ids of stored runs that start with the given text, each with its folder name."""
    root = Path(os.environ.get("HARNESS_RESULTS", "results"))
    folders = sorted(path.parent.name for path in root.glob("runs/*/run.json"))
    return [(name.rpartition("-")[2], name) for name in folders if name.rpartition("-")[2].startswith(incomplete)]


def comparisons(incomplete: str) -> list[str]:
    """Return the names of the comparisons that start with the given text."""
    root = Path(os.environ.get("HARNESS_RESULTS", "results"))
    names = sorted(path.parent.name for path in root.glob("comparisons/*/plan.json"))
    return [name for name in names if name.startswith(incomplete)]
