"""Labels as text: reads cells, orders classes, and warns about likely mistakes."""

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from harness_plugins.reading.values import (
    describe,
    in_order,
    is_container,
    is_marks,
    is_missing,
    is_named_marks,
    is_number,
    word,
)

_LIST = re.compile(r"\[.*\]", re.DOTALL)
_QUOTED = re.compile(r"""(?<!\w)('[^']*'|"[^"]*")""")
_COMMA = re.compile(r"[+-]?\d+,\d+")
_MANY_NUMBERS, _MANY_FRACTIONS, _FEW_EACH = 20, 5, 5
_SOME = 3


def read(
    value: Any, says: str, form: str, separator: str | None, decimal: str, names: Sequence[str] | None, option: str
) -> Any:
    """Return a cell's label: a name, a list of names, a number, or the numbers of the classes that are set.

    Raises:
        ValueError: The cell is not a label; gives the reason in short and, on the next line, in full.
    """
    if says == "classes":
        return _several(value, form, separator, names)
    if form in ("named marks", "lists", "written lists"):
        value = _single(value, form)
    if is_missing(value) or (names is not None and value == -1):
        message = "no number" if isinstance(value, float) and says == "number" else "no label"
        raise ValueError(message)
    if is_container(value):
        hint = f"; to read several labels, use -o {option}.label_separator=," if isinstance(value, list) else ""
        message = (
            f"the label is {describe(value)}\nthe label is {describe(value)}, but other labels are single values{hint}"
        )
        raise ValueError(message)
    if says == "number":
        return _number(value, decimal, option)
    return named(value, names).strip()


def named(value: Any, names: Sequence[str] | None) -> str:
    """Return a value as text; a class number becomes the class name if the names are known."""
    if names is not None and isinstance(value, int) and 0 <= value < len(names):
        return names[value]
    return "" if is_missing(value) else word(value)


def _several(value: Any, form: str, separator: str | None, names: Sequence[str] | None) -> list[Any]:
    if form == "written lists" and isinstance(value, str) and value.strip():
        value = written_list(value)
    if form == "named marks" and not is_missing(value):
        return [name for name, mark in _marks(value).items() if mark]
    if form == "written lists" and isinstance(value, str) and value.strip():
        value = written_list(value)
    if form == "marks" or (form == "written lists" and isinstance(value, list) and is_marks(value)):
        if not (isinstance(value, list) and (is_marks(value) or not value)):
            message = "not a list of 0 and 1\nthe label is not a list of one 0/1 per class, as other labels are"
            raise ValueError(message)
        return [at for at, mark in enumerate(value) if mark]
    if isinstance(value, list):
        return [named(label, names).strip() for label in value if not is_missing(label)]
    if is_missing(value):
        return []
    if is_container(value):
        message = f"the label is {describe(value)}"
        raise ValueError(message)
    found = named(value, names)
    return [label.strip() for label in (found.split(separator) if separator else [found]) if label.strip()]


def _single(value: Any, form: str) -> Any:
    """Return the label of a cell with a one-element list, or with one named 1; any other value unchanged."""
    if form == "named marks" and not is_missing(value):
        found: list[Any] = [name for name, mark in _marks(value).items() if mark]
    elif form == "written lists" and isinstance(value, str) and not is_missing(value):
        found = written_list(value)
    elif isinstance(value, list):
        found = value
    else:
        return value
    if len(found) != 1:
        message = f"not one label\n{len(found)} labels, but other rows have one"
        raise ValueError(message)
    return found[0]


def _marks(value: Any) -> Mapping[str, Any]:
    if not is_named_marks(value):
        message = "not one 0/1 per class\nthe label is not an object of one 0/1 per class, as other labels are"
        raise ValueError(message)
    marks: Mapping[str, Any] = value
    return marks


def _number(value: Any, decimal: str, option: str) -> float:
    text = ("true" if value is True else "false" if value is False else word(value)).strip()
    plain = text.replace(decimal, ".") if decimal != "." else text
    if is_number(plain):
        return float(plain)
    hint = f"; if it has a decimal comma, use -o {option}.decimal=," if _COMMA.fullmatch(text) else ""
    message = f"a label that is not a number\nthe label {text!r} is not a number{hint}"
    raise ValueError(message)


def are_written_lists(values: Sequence[Any]) -> bool:
    """Return whether all labels are lists written as text, such as `['a', 'b']`."""
    return (
        bool(values)
        and all(isinstance(value, str) and _LIST.fullmatch(value.strip()) for value in values)
        and all(isinstance(written_list(value), list) and written_list(value) != [value] for value in values)
    )


def written_list(value: str) -> list[Any]:
    """Return the list written in a text in Python or JSON syntax; otherwise a list with the text itself."""
    if len(_QUOTED.findall(value)) > 1 + value.count(","):
        return [value]  # NumPy prints lists without commas; Python would join the strings
    try:
        found = ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return [value]
    return found if isinstance(found, list) and not any(is_container(part) for part in found) else [value]


def by_number(value: Any, classes: Sequence[str]) -> Any:
    """Return the class, or list of classes, for a class number; any other value unchanged."""
    if isinstance(value, list):
        return [by_number(part, classes) for part in value]
    is_place = isinstance(value, str) and value.isdecimal() and value not in classes and int(value) < len(classes)
    return classes[int(value)] if is_place else value


def ordered(found: Mapping[str, int], outside: str | None) -> tuple[str, ...]:
    """Return the classes that occur, in order; for tags, the outside tag comes first."""
    known = in_order(set(found))
    return (
        (outside, *(label for label in known if label != outside))
        if outside in found and outside is not None
        else known
    )


def near(strange: str, known: Sequence[str]) -> str:
    """Return a hint if a label is a different spelling of a known one; else an empty string."""
    alike = [label for label in known if _plain(label) == _plain(strange)]
    if alike:
        return f" (train has {alike[0]!r})"
    if strange.isdigit() and not any(label.isdigit() for label in known):
        return f" (train has names, such as {known[0]!r})" if known else ""
    return ""


def _plain(label: str) -> str:
    """Return a label without case, and a number without its spelling."""
    text = {"true": "1", "false": "0"}.get(label.casefold(), label.casefold())
    return str(float(text)) if is_number(text) else text


def doubts(found: Mapping[str, int], rows: int, says: str, option: str) -> list[str]:
    """Return warnings about likely mistakes in the classes, given how often each occurs."""
    doubts = []
    alike = defaultdict(list)
    for label in in_order(set(found)):
        alike[_plain(label)].append(label)
    doubts += [
        f"labels that may be the same class: {', '.join(map(repr, twins))}"
        for twins in alike.values()
        if len(twins) > 1
    ]
    if says != "class":
        return doubts
    if listed := next((label for label in found if _LIST.fullmatch(label)), None):
        doubts.append(f"labels such as {listed!r} look like lists; write them as JSON lists, or use a separator")
    numbers = [label for label in found if is_number(label)]
    fractions = any(not float(label).is_integer() for label in numbers)
    many = (
        len(numbers) > _MANY_FRACTIONS
        if fractions
        else len(numbers) > _MANY_NUMBERS and rows < _FEW_EACH * len(numbers)
    )
    if len(numbers) == len(found) and many:
        doubts.append(f"{len(found)} distinct numbers as classes; if they are scores, use -o {option}.numeric=true")
    elif len(found) > max(10, rows // 2):
        doubts.append(f"{len(found)} distinct labels in {rows} rows; check that this is the label column")
    for separator in (",", ";", "|"):
        composed = {label: [part.strip() for part in label.split(separator)] for label in found if separator in label}
        parts = Counter(part for label in composed.values() for part in label)
        if several := next(
            (label for label, names in composed.items() if any(n in found or parts[n] > 1 for n in names)), None
        ):
            doubts.append(
                f"labels such as {several!r} look like several labels; to separate them, use "
                f"-o {option}.label_separator='{separator}'"
            )
            break
    return doubts


def conflicts(train: Mapping[str, Sequence[Any]], says: str) -> list[str]:
    """Return a warning with the number of train texts with several labels, or prompts with several completions."""
    name = {"class": "label", "number": "label", "completion": "completion"}.get(says)
    if name is None:
        return []
    said: dict[tuple[str, str], set[Any]] = defaultdict(set)
    pairs = train.get("text_pair") or [""] * len(train["text"])
    for text, pair, value in zip(train["text"], pairs, train[name], strict=True):
        said[" ".join(text.split()).casefold(), " ".join(pair.split()).casefold()].add(value)
    count = sum(len(values) > 1 for values in said.values())
    if not count:
        return []
    texts = "1 text has" if count == 1 else f"{count} texts have"
    if says == "completion":
        return [f"{count} prompts have several completions" if count > 1 else "1 prompt has several completions"]
    return [f"{texts} more than one label"]
