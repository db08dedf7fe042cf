"""One independent tag per word, such as its part of speech."""

from collections.abc import Sequence
from typing import ClassVar

import harness
from harness_plugins.tasks.token_classification import TokenClassification

_FEWEST_TAGS = 2


class Tagging(TokenClassification):
    """Tag each word of a text independently, such as with its part of speech; all words count equally.

    As in token-classification, a word is tagged at its first token. Words cut off at the end of a long text, and words
    without any token, count as wrong.
    """

    name = "tagging"
    metrics: ClassVar[tuple[str, ...]] = ("word-accuracy",)
    outside = ""

    def check(self, facts: harness.Facts, columns: Sequence[str]) -> str | None:
        """Return why the data cannot be used."""
        if "words" not in columns or "tags" not in columns:
            return f"needs the words of each text and their tags, as in a CoNLL file, but the data has: {', '.join(columns)}"
        if len(facts.classes or ()) < _FEWEST_TAGS:
            return (
                f"needs at least two tags, but the data has only {', '.join(map(repr, facts.classes or ())) or 'none'}"
            )
        return None


@harness.hookimpl
def harness_tasks() -> list[type[harness.Task]]:
    """Register the task."""
    return [Tagging]
