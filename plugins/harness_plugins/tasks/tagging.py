"""A tag for each word of a text that says something of the word by itself."""

from collections.abc import Sequence
from typing import ClassVar

import harness
from harness_plugins.tasks.token_classification import TokenClassification

_FEWEST_TAGS = 2


class Tagging(TokenClassification):
    """Tag each word of a text by itself, such as with its part of speech; every word counts alike.

    As in token-classification a word is tagged at its first piece; one that is cut off with the end of a long text, or of which
    the tokenizer leaves nothing, is answered wrongly.
    """

    name = "tagging"
    metrics: ClassVar[tuple[str, ...]] = ("word-accuracy",)
    outside = ""

    def check(self, facts: harness.Facts, columns: Sequence[str]) -> str | None:
        """Return why the data cannot be used."""
        if "words" not in columns or "tags" not in columns:
            return f"needs the words of each text and their tags, as a CoNLL file has, but the data has: {', '.join(columns)}"
        if len(facts.classes or ()) < _FEWEST_TAGS:
            return (
                f"needs at least two tags, but the data has only {', '.join(map(repr, facts.classes or ())) or 'none'}"
            )
        return None


@harness.hookimpl
def harness_tasks() -> list[type[harness.Task]]:
    """Offer the task."""
    return [Tagging]
