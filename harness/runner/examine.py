"""What is looked at before the first run: all data is read, and the model is seen to be whole and to suit it.

A mistake in the last dataset must not cost an hour, and a reader must see what was understood.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from harness.catalog import Catalog, load_catalog
from harness.contracts import Dataset, Model, Task
from harness.delivery.load import quiet
from harness.engine.cache import Cache
from harness.engine.data import Prepared, check_problem, prepare, split_counts
from harness.engine.leaks import find_leaks
from harness.errors import HarnessError, UndefinedError
from harness.experiment.plan import Plan
from harness.processes import start_process
from harness.records import ColumnsSummary, DataSummary, Run, SplitSummary, TaskData

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SAMPLE = 1000
"""Rows of train that are tokenised to see how many are cut, and how many tokens are unknown."""
_SHOWN = 400
"""Characters of an example that are shown."""
_UNKNOWN_WARNING, _UNKNOWN_ERROR = 30.0, 90.0
"""Per cent of unknown tokens."""
_FEW = 30
"""Test rows below which a score says little."""
_LEAK, _FEWEST_LETTERS = 0.95, 3
"""Share of a class's texts that hold its name, and of other texts that do not, at which the name gives the class away."""


class Examined(NamedTuple):
    """What was understood."""

    data: tuple[DataSummary, ...]
    """Of the stages' datasets, then of those that are watched."""
    notes: tuple[str, ...]
    """What a reader must know of the model and its settings."""


def examine(
    plan: Plan,
    catalog: Catalog,
    cache: Cache,
    say: Callable[[str], None],
    *,
    apart: Sequence[str] | None = None,
    leaks: bool = True,
    fetch: bool = True,
) -> Examined:
    """Return what is understood of a plan's data and model.

    Args:
        plan: What is to run.
        catalog: Where its components are.
        cache: Where prepared data is kept for the runs.
        say: Told what is being done.
        apart: Look at the model in a process of its own, which has torch already, and leave out these plugins there; None to look
            at it here.
        leaks: Look for test texts in train splits, and keep that for the runs.
        fetch: Look at the weights of a model that is not on this machine, too, which fetches them.

    Raises:
        HarnessError: Data cannot be read or does not suit its task, or the model is not whole or does not suit the data.
    """
    run = plan.arms[0].runs[0]
    prepared = _prepared(run, catalog, cache, say)
    if leaks:
        find_leaks(prepared, len(run.stages), cache)  # kept for the runs, none of which has to wait for it
    say("examining the model")
    examined = (
        _with_model(run, catalog, prepared, fetch=fetch)
        if apart is None
        else _in_process_of_its_own(run, apart, cache, fetch=fetch)
    )
    return examined._replace(notes=(*plan.notes, *examined.notes))


def _prepared(run: Run, catalog: Catalog, cache: Cache, say: Callable[[str], None]) -> list[Prepared]:
    prepared = []
    for problem in run.task_data:
        say(f"preparing {problem.dataset.name}")
        prepared.append(prepare(catalog.restore(Dataset, problem.dataset), problem.dataset, cache))
        check_problem(problem, catalog.restore(Task, problem.task), prepared[-1])
    return prepared


def _with_model(run: Run, catalog: Catalog, prepared: Sequence[Prepared], *, fetch: bool) -> Examined:
    """Return what the model makes of the data, and what must be known of itself."""
    model = catalog.restore(Model, run.model)
    with quiet():
        tokenizer = model.tokenizer()
        data = tuple(
            _summary(
                problem,
                catalog.restore(Task, problem.task),
                found,
                tokenizer,
                run.train.max_length,
                stage=at < len(run.stages),
            )
            for at, (problem, found) in enumerate(zip(run.task_data, prepared, strict=True))
        )
        notes = _check_tokenizer(model, tokenizer)
        if fetch or Path(model.locate().path).is_dir():
            notes += _check_weights(model, run, catalog, prepared, tokenizer)
    return Examined(data, tuple(dict.fromkeys(notes)))


def _in_process_of_its_own(run: Run, without: Sequence[str], cache: Cache, *, fetch: bool) -> Examined:
    """Return what `_with_model` does, from a copy of the warm process: torch and the data need not share one memory."""
    process, connection = start_process(_answer, run, tuple(without), cache.root, fetch)
    try:
        found = connection.recv()
    except EOFError:
        message = f"model {run.model.name!r} could not be examined: the process that looked at it ended without a word"
        raise HarnessError(message) from None
    finally:
        process.join()
    if isinstance(found, BaseException):
        raise found
    return Examined(*found)


def _answer(run: Run, without: Sequence[str], cache: Path, fetch: bool, connection: Connection) -> None:
    """Examine, in the new process, and send what is found."""
    try:
        catalog = load_catalog(without)
        found = _with_model(run, catalog, _prepared(run, catalog, Cache(cache), lambda _: None), fetch=fetch)
        connection.send((found.data, found.notes))
    except HarnessError as error:
        connection.send(HarnessError(str(error)))
    except Exception as error:  # noqa: BLE001 - raised again where the command can hear it
        connection.send(RuntimeError(f"{type(error).__name__}: {error}\n{traceback.format_exc()}"))
    finally:
        connection.close()


def _check_tokenizer(model: Model, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """See that the model has a row of its embedding for every token; returns what to tell.

    Raises:
        HarnessError: It has not, for a token that texts may have.
    """
    rows = getattr(model.config(), "vocab_size", None)
    if not isinstance(rows, int) or len(tokenizer) <= rows:
        return []
    told = f"its tokenizer has {len(tokenizer)} tokens, but its embedding {rows} rows"
    special = set(tokenizer.all_special_ids)
    beyond = [number for number in tokenizer.get_vocab().values() if number >= rows]
    if any(number not in special for number in beyond):
        message = f"model {model.name!r}: {told}: they do not belong together, or the embedding was not enlarged when tokens were added"
        raise HarnessError(message)
    return [f"{told}: special tokens that no text has"]


def _check_weights(
    model: Model, run: Run, catalog: Catalog, prepared: Sequence[Prepared], tokenizer: PreTrainedTokenizerBase
) -> list[str]:
    """See that a model is whole and has the heads that are needed; returns what to tell.

    Raises:
        HarnessError: It is not so.
    """
    from harness.engine.models import RunLoader

    loader = RunLoader(model, run.train, tokenizer.pad_token_id, weightless=True)
    for problem, found in zip(run.stages, prepared, strict=False):
        with contextlib.suppress(UndefinedError):  # the run will say so
            catalog.restore(Task, problem.task).build(loader, found.facts)
    return loader.notes


def _summary(
    problem: TaskData,
    task: Task,
    prepared: Prepared,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    *,
    stage: bool,
) -> DataSummary:
    facts, splits = prepared.facts, prepared.splits
    counts = split_counts(prepared)
    left_out = {**facts.left_out}
    if prepared.moved:
        left_out["its text also stands in a split that must stay unseen"] = prepared.moved
    if prepared.over:
        left_out["over the limit"] = prepared.over
    columns = facts.columns or {name: (name,) for name in splits["train"].column_names if name != "id"}
    warnings = [*facts.warnings]
    try:
        tokens = _tokens(task, prepared, tokenizer, max_length)
    except (HarnessError, UndefinedError) as error:
        if stage:
            raise HarnessError(str(error)) from None
        # What is only watched is a blank with its reason then.
        tokens = _Tokens("", 0.0, 0.0)
        warnings.append(str(error))
    if stage:
        warnings += _doubts(prepared, counts, tokens.unknown)
        if tokens.unknown > _UNKNOWN_ERROR:
            message = (
                f"dataset {problem.dataset.name!r}: {tokens.unknown:.0f} % of its tokens are unknown to the model's tokenizer: the "
                "model cannot read these texts; take another model"
            )
            raise HarnessError(message)
    return DataSummary(
        dataset=problem.dataset.name,
        task=problem.task.name,
        why=facts.why,
        rows=sum(len(rows) for rows in splits.values()),
        left_out=left_out,
        columns=ColumnsSummary(used=dict(columns), unused=facts.unused),
        classes=None
        if counts is None
        else {name: sum(split[name] for split in counts.values()) for name in facts.classes or ()},
        splits={
            name: SplitSummary(rows=len(rows), classes=None if counts is None else counts[name])
            for name, rows in splits.items()
        },
        example=tokens.example,
        truncated=tokens.truncated,
        unknown_tokens=tokens.unknown,
        notes=facts.notes,
        warnings=tuple(warnings),
    )


class _Tokens(NamedTuple):
    example: str
    truncated: float
    """Per cent of texts."""
    unknown: float
    """Per cent of tokens, special ones not counted."""


def _tokens(task: Task, prepared: Prepared, tokenizer: PreTrainedTokenizerBase, max_length: int) -> _Tokens:
    """Return what the model will see of train."""
    train = prepared.splits["train"]
    chosen = np.unique(np.linspace(0, len(train) - 1, min(len(train), _SAMPLE)).astype(int))
    encoded = task.encode(train.select(chosen)[:], tokenizer, max_length)
    texts = encoded["input_ids"]
    example = " ".join(str(tokenizer.decode(texts[0])).split())
    cut = {
        row for row, is_cut in zip(encoded.get("row", range(len(texts))), encoded["truncated"], strict=True) if is_cut
    }
    special = set(tokenizer.all_special_ids)
    unknown_id = tokenizer.unk_token_id
    plain = special - {unknown_id}
    words = [token for tokens in texts for token in tokens if token not in plain]
    unknown = (
        sum(token == unknown_id for token in words) if unknown_id is not None and not _means_else(tokenizer) else 0
    )
    return _Tokens(
        example if len(example) <= _SHOWN else f"{example[:_SHOWN]}...",
        round(100 * len(cut) / len(chosen), 2),
        round(100 * unknown / max(1, len(words)), 2),
    )


def _means_else(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether the token for what is unknown is also that for an end or for padding, so that counting it says nothing."""
    return tokenizer.unk_token_id in (tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.bos_token_id)


def _doubts(prepared: Prepared, counts: dict[str, dict[str, int]] | None, unknown: float) -> list[str]:
    """Return what of the splits may mislead, a line each."""
    doubts = []
    rows = {name: len(split) for name, split in prepared.splits.items()}
    if rows["test"] < _FEW:
        doubts.append(
            f"the test split has {rows['test']} row{'s' * (rows['test'] != 1)} and validation {rows['validation']}: scores on so "
            "few say little"
        )
    if counts is not None:
        for split, told in (("test", "never tested"), ("train", "never learned")):
            if lacking := [name for name, count in counts[split].items() if not count and name != "O"]:
                some = ", ".join(f"{name!r} ({sum(found[name] for found in counts.values())})" for name in lacking[:3])
                more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
                doubts.append(f"without a row in {split}, so {told}: {some}{more}")
        doubts += _given_away(prepared)
    if unknown > _UNKNOWN_WARNING:
        doubts.append(
            f"{unknown:.0f} % of the tokens are unknown to the model's tokenizer: it may not suit this language"
        )
    return doubts


def _given_away(prepared: Prepared) -> list[str]:
    """Return a line where the texts of every class hold its name and those of others do not."""
    train, classes = prepared.splits["train"], prepared.facts.classes or ()
    if "label" not in train.column_names or not len(train) or isinstance(train[0]["label"], list):
        return []
    chosen = train.select(range(min(len(train), _SAMPLE)))
    texts, labels = [text.casefold() for text in chosen["text"][:]], chosen["label"][:]
    if len(set(labels)) < 2:
        return []
    for number in set(labels):
        name = str(classes[number]).casefold()
        own = [name in text for text, label in zip(texts, labels, strict=True) if label == number]
        others = [name in text for text, label in zip(texts, labels, strict=True) if label != number]
        if len(name) < _FEWEST_LETTERS or sum(own) < _LEAK * len(own) or sum(others) > (1 - _LEAK) * len(others):
            return []
    return ["the texts of each class hold its name: the answer may stand in the text"]
