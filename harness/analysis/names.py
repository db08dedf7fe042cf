"""Names of components in tables and messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from harness.records import ComponentRef


def called(reference: ComponentRef) -> str:
    """Return a component's name, with the file or folder it was read from."""
    given = [place if isinstance(place, list) else [place] for place in reference.location.values()]
    places = [Path(str(place)).name for paths in given for place in paths if place is not None]
    return " ".join([reference.name, *places])


def distinct(references: Sequence[ComponentRef], name: Callable[[ComponentRef], str]) -> list[str]:
    """Return a distinct name for each component: its name, with the file it was read from or a number if ambiguous."""
    different = [one for at, one in enumerate(references) if one not in references[:at]]
    plain = [name(one) for one in different]
    names = [called(one) if plain.count(given) > 1 else given for one, given in zip(different, plain, strict=True)]
    numbers = [names[: at + 1].count(given) for at, given in enumerate(names)]
    names = [given if number == 1 else f"{given} {number}" for given, number in zip(names, numbers, strict=True)]
    return [names[different.index(one)] for one in references]
