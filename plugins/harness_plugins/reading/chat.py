"""Conversations of several turns in the formats of OpenAI and ShareGPT, as prompts and completions."""

from typing import Any, NamedTuple

_ROLES = {
    "system": "system", "developer": "system", "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant",
    "bot": "assistant", "model": "assistant",
}  # fmt: skip


class Talk(NamedTuple):
    """A conversation that ends with the answer to learn."""

    messages: list[dict[str, str]]
    """Every turn before the last answer, each with `role` (system, user or assistant) and `content`."""
    text: str
    """The same as text, to compare conversations."""
    completion: str
    """The last answer of the assistant."""
    problem: str | None
    """The problem, as a clause, or None."""


def read_talk(value: Any) -> Talk:
    """Return the conversation in a list of messages."""
    turns: list[dict[str, str]] = []
    for part in value:
        role, content = part.get("role", part.get("from")), part.get("content", part.get("value"))
        if isinstance(content, list) and all(
            isinstance(piece, dict) and piece.get("type") == "text" for piece in content
        ):
            content = "".join(str(piece.get("text", "")) for piece in content)
        if not isinstance(role, str) or role not in _ROLES:
            return Talk([], "", "", f"a message has the role {role!r}; supported are system, user and assistant")
        if not isinstance(content, str):
            return Talk(
                [], "", "", f"a message of the {_ROLES[role]} has no text (tool calls and images are not supported)"
            )
        turns.append({"role": _ROLES[role], "content": content})
    while turns and turns[-1]["role"] != "assistant":
        turns.pop()  # turns without an answer
    if not turns or not turns[-1]["content"].strip():
        return Talk([], "", "", "no answer from the assistant")
    if not any(turn["role"] == "user" for turn in turns[:-1]):
        return Talk([], "", "", "no user message before the answer")
    before = turns[:-1]
    text = (
        before[0]["content"] if len(before) == 1 else "\n".join(f"{turn['role']}: {turn['content']}" for turn in before)
    )
    return Talk(before, text, turns[-1]["content"], None)
