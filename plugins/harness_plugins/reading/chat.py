"""Talks of several turns, as OpenAI's and ShareGPT's files have them, and Alpaca's instructions: prompts and completions."""

from typing import Any, NamedTuple

_ROLES = {
    "system": "system", "developer": "system", "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant",
    "bot": "assistant", "model": "assistant",
}  # fmt: skip


class Talk(NamedTuple):
    """A talk that ends with the answer to be learned."""

    messages: list[dict[str, str]]
    """Every turn before the last answer, each with `role` (system, user or assistant) and `content`."""
    text: str
    """The same as text, for telling talks apart."""
    completion: str
    """The last answer."""
    problem: str | None
    """What is wrong, as a clause, or None."""


def read_talk(value: Any) -> Talk:
    """Return the talk of a list of messages."""
    turns: list[dict[str, str]] = []
    for part in value:
        role, content = part.get("role", part.get("from")), part.get("content", part.get("value"))
        if isinstance(content, list) and all(
            isinstance(piece, dict) and piece.get("type") == "text" for piece in content
        ):
            content = "".join(str(piece.get("text", "")) for piece in content)
        if not isinstance(role, str) or role not in _ROLES:
            return Talk([], "", "", f"a message of the role {role!r}: only system, user and assistant are read")
        if not isinstance(content, str):
            return Talk(
                [], "", "", f"a message of the {_ROLES[role]} has no text (calls of tools and images are not read)"
            )
        turns.append({"role": _ROLES[role], "content": content})
    while turns and turns[-1]["role"] != "assistant":
        turns.pop()  # what nobody answered
    if not turns or not turns[-1]["content"].strip():
        return Talk([], "", "", "no answer of the assistant")
    if not any(turn["role"] == "user" for turn in turns[:-1]):
        return Talk([], "", "", "no message of the user before the answer")
    before = turns[:-1]
    text = (
        before[0]["content"] if len(before) == 1 else "\n".join(f"{turn['role']}: {turn['content']}" for turn in before)
    )
    return Talk(before, text, turns[-1]["content"], None)
