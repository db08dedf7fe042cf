"""Checks before the first run: read all data, and check that the model is complete and suits the data.

An error in the last dataset is found before any run, and the user sees how the data was read.
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
"""Training rows that are tokenised to count truncated texts and unknown tokens."""
_SHOWN = 400
"""Maximum characters shown of an example."""
_UNKNOWN_WARNING, _UNKNOWN_ERROR = 30.0, 90.0
"""Per cent of unknown tokens."""
_FEW = 30
"""Number of test rows below which scores are unreliable."""
_LEAK, _FEWEST_LETTERS = 0.95, 3
"""Class-name leak: the minimum share of a class's texts that contain its name, and of other texts that do not; the
minimum length of a name."""


class Examined(NamedTuple):
    """Summary of data and model."""

    data: tuple[DataSummary, ...]
    """Of the stages' datasets, then of the watched ones."""
    notes: tuple[str, ...]
    """Notes on the model and its settings."""


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
    """Return a summary of a plan's data and model.

    Args:
        plan: The plan.
        catalog: Provides its components.
        cache: Stores prepared data for the runs.
        say: Called with progress messages.
        apart: Examine the model in a separate process, which has already imported torch, without these plugins; None to
            examine it in this process.
        leaks: Search train splits for test texts, and cache the result for the runs.
        fetch: Also check the weights of a model that is not on this machine, which downloads them.

    Raises:
        HarnessError: Data cannot be read or does not suit its task, or the model is incomplete or does not suit the
            data.
    """
    run = plan.arms[0].runs[0]
    prepared = _prepared(run, catalog, cache, say)
    if leaks:
        find_leaks(prepared, len(run.stages), cache)  # cached, so that no run has to wait for it
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
        prepared.append(prepare(catalog.restore(Dataset, problem.dataset), problem.dataset, cache, run.seed))
        check_problem(problem, catalog.restore(Task, problem.task), prepared[-1])
    return prepared


def _with_model(run: Run, catalog: Catalog, prepared: Sequence[Prepared], *, fetch: bool) -> Examined:
    """Return the data summaries with the model's tokenizer, and notes on the model."""
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
    """Return the result of `_with_model` from a copy of the warm process, so torch and the data do not share memory."""
    process, connection = start_process(_answer, run, tuple(without), cache.root, fetch)
    try:
        found = connection.recv()
    except EOFError:
        message = f"model {run.model.name!r} could not be examined: the examining process ended without a result"
        raise HarnessError(message) from None
    finally:
        process.join()
    if isinstance(found, BaseException):
        raise found
    return Examined(*found)


def _answer(run: Run, without: Sequence[str], cache: Path, fetch: bool, connection: Connection) -> None:
    """Examine in the new process, and send the result."""
    try:
        catalog = load_catalog(without)
        found = _with_model(run, catalog, _prepared(run, catalog, Cache(cache), lambda _: None), fetch=fetch)
        connection.send((found.data, found.notes))
    except HarnessError as error:
        connection.send(HarnessError(str(error)))
    except Exception as error:  # noqa: BLE001 - raised again in the process of the command
        connection.send(RuntimeError(f"{type(error).__name__}: {error}\n{traceback.format_exc()}"))
    finally:
        connection.close()


def _check_tokenizer(model: Model, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Check that the embedding has a row for every token; return notes.

    Raises:
        HarnessError: A row is missing for a token that can occur in texts.
    """
    rows = getattr(model.config(), "vocab_size", None)
    if not isinstance(rows, int) or len(tokenizer) <= rows:
        return []
    told = f"its tokenizer has {len(tokenizer)} tokens, but its embedding has {rows} rows"
    special = set(tokenizer.all_special_ids)
    beyond = [number for number in tokenizer.get_vocab().values() if number >= rows]
    if any(number not in special for number in beyond):
        message = (
            f"model {model.name!r}: {told}: use the matching tokenizer, or enlarge the embedding for the added tokens"
        )
        raise HarnessError(message)
    return [f"{told}: only special tokens, which do not occur in texts, have no row"]


def _check_weights(
    model: Model, run: Run, catalog: Catalog, prepared: Sequence[Prepared], tokenizer: PreTrainedTokenizerBase
) -> list[str]:
    """Check that a model is complete and has the required heads; return notes.

    Raises:
        HarnessError: It is incomplete or lacks a head.
    """
    from harness.engine.models import RunLoader

    loader = RunLoader(model, run.train, tokenizer.pad_token_id, weightless=True)
    for problem, found in zip(run.stages, prepared, strict=False):
        with contextlib.suppress(UndefinedError):  # the run reports it
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
        left_out["text also occurs in a held-out split"] = prepared.moved
    if prepared.over:
        left_out["over the limit"] = prepared.over
    columns = facts.columns or {name: (name,) for name in splits["train"].column_names if name != "id"}
    warnings = [*facts.warnings]
    try:
        tokens = _tokens(task, prepared, tokenizer, max_length)
    except (HarnessError, UndefinedError) as error:
        if stage:
            raise HarnessError(str(error)) from None
        # A watched dataset then has a blank with this reason.
        tokens = _Tokens("", 0.0, 0.0)
        warnings.append(str(error))
    if stage:
        warnings += _doubts(prepared, counts, tokens.unknown)
        if tokens.unknown > _UNKNOWN_ERROR:
            message = (
                f"dataset {problem.dataset.name!r}: {tokens.unknown:.0f} % of its tokens are unknown to the model's "
                "tokenizer, so the model cannot read these texts: choose another model"
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
    """Percentage of texts."""
    unknown: float
    """Percentage of tokens, without special tokens."""


def _tokens(task: Task, prepared: Prepared, tokenizer: PreTrainedTokenizerBase, max_length: int) -> _Tokens:
    """Return an example and token statistics of the training split."""
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
    """Return whether the unknown token is also the end, padding or start token, so that counting it is meaningless."""
    return tokenizer.unk_token_id in (tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.bos_token_id)


def _doubts(prepared: Prepared, counts: dict[str, dict[str, int]] | None, unknown: float) -> list[str]:
    """Return warnings about the splits, one line each."""
    doubts = []
    rows = {name: len(split) for name, split in prepared.splits.items()}
    if rows["test"] < _FEW:
        doubts.append(
            f"the test split has {rows['test']} row{'s' * (rows['test'] != 1)} and validation {rows['validation']}: "
            "scores on so few rows are unreliable"
        )
    if counts is not None:
        for split, told in (("test", "not tested"), ("train", "not learned")):
            if lacking := [name for name, count in counts[split].items() if not count and name != "O"]:
                some = ", ".join(f"{name!r} ({sum(found[name] for found in counts.values())})" for name in lacking[:3])
                more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
                doubts.append(f"classes without rows in {split}, so {told}: {some}{more}")
        doubts += _given_away(prepared)
    if unknown > _UNKNOWN_WARNING:
        doubts.append(
            f"{unknown:.0f} % of the tokens are unknown to the model's tokenizer: it may not suit this language"
        )
    return doubts


def _given_away(prepared: Prepared) -> list[str]:
    """Return a warning if the texts of every class contain its name and those of the others do not."""
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
    return ["the texts of each class contain its name: the text may give away the label"]
