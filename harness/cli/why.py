"""`harness why`: show how two runs differ, and which of their numbers can be compared."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from pydantic import JsonValue

from harness.analysis.comparability import Difference, Finished, compare_outcomes, compare_settings, conclude, listed
from harness.catalog import load_catalog
from harness.cli import options
from harness.cli.completion import runs
from harness.errors import HarnessError, unknown
from harness.experiment.asked import Asked
from harness.experiment.search import settle
from harness.experiment.spec import is_experiment
from harness.records import Run
from harness.store import Store

_COMPARED = ("model", "strategy", "train")
"""Groups of settings that runs are meant to differ in."""
_FINGERPRINT = 12
"""Number of hash digits shown."""


class _Side(NamedTuple):
    """One of the two sides compared: a run, or an arm's runs seed by seed."""

    name: str
    runs: Sequence[Run]
    store: Store


def why(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="A B",
            autocompletion=runs,
            help="Two runs, each by id, prefix of the id, or folder; or an experiment file and two of its arms.",
            show_default=False,
        ),
    ],
    results: options.Results = Path("results"),
    json_: Annotated[bool, typer.Option("--json", help="Full output as JSON.")] = False,
    without: options.Without = None,
) -> None:
    """Show the fields in which two runs differ, and which of their numbers can be compared.

    `harness why EXPERIMENT ARM ARM` compares two arms of an experiment (its file or name), seed by seed.
    """
    asked = Asked(names[0]).named_in(results)
    experiment = len(names) == 3 or is_experiment(Path(str(asked.target)))
    if len(names) != (3 if experiment else 2):
        message = f"expected two runs, or an experiment file and two of its arms, but got: {' '.join(names)}"
        raise HarnessError(message)
    sides = _arms(asked, names[1:], results, without or ()) if experiment else [_run(name, results) for name in names]
    first, second = sides
    differences, missing = _differences(first, second)
    conclusion = _conclusion(first, second, differences, missing)
    if json_:
        body = {
            "first": {"name": first.name, "runs": [run.id for run in first.runs]},
            "second": {"name": second.name, "runs": [run.id for run in second.runs]},
            "differences": [difference.model_dump(mode="json") for difference in differences],
            "conclusion": conclusion,
        }
        sys.stdout.write(json.dumps(body, indent=2, ensure_ascii=False) + "\n")
        return
    _show(first.name, second.name, differences)
    sys.stdout.write(f"{conclusion}\n")


def _arms(asked: Asked, labels: Sequence[str], results: Path, without: Sequence[str]) -> list[_Side]:
    catalog, store = load_catalog(without), _store(results)
    plan = settle(asked.plan(catalog), store, catalog)
    arms = {arm.label: arm for arm in plan.arms}
    for label in labels:
        if label not in arms:
            raise unknown("arm", label, arms)
    return [_Side(label, arms[label].runs, store) for label in labels]


def _run(name: str, results: Path) -> _Side:
    """Return a stored run, from the results folder or from the run folder given."""
    folder = Path(name)
    if (folder / "run.json").is_file():
        folder = folder.resolve()
        store = Store(folder.parents[1])
        run = store.find(folder.name)
    else:
        store = _store(results)
        run = store.find(name)
    return _Side(f"{run.strategy.name} s{run.seed} {run.id}", [run], store)


def _store(results: Path) -> Store:
    if not results.exists():
        message = f"no results folder {str(results)!r}: give another folder with --results"
        raise HarnessError(message)
    return Store(results)


def _differences(first: _Side, second: _Side) -> tuple[list[Difference], list[str]]:
    """Return the differences, and which runs have no outcome, each with the reason."""
    found = compare_settings(first.runs[0], second.runs[0])
    missing: list[str] = []
    for mine, theirs in zip(first.runs, second.runs, strict=True):
        finished = [_finished(side, run, missing) for side, run in ((first, mine), (second, theirs))]
        if finished[0] and finished[1]:
            found += [new for new in compare_outcomes(finished[0], finished[1]) if new not in found]
    return found, missing


def _finished(side: _Side, run: Run, missing: list[str]) -> Finished | None:
    outcome = side.store.outcome(run)
    if outcome is None:
        failure = side.store.failure(run)
        state = f"{failure.status}: {failure.reason}" if failure else "not run yet"
        missing.append(f"{side.name} seed {run.seed} ({state})" if len(side.runs) > 1 else f"{side.name} ({state})")
        return None
    return Finished(run, outcome, side.store)


def _conclusion(first: _Side, second: _Side, differences: Sequence[Difference], missing: Sequence[str]) -> str:
    same = [run.id for run in first.runs] == [run.id for run in second.runs]
    if same and first.store.root.resolve() == second.store.root.resolve():
        text = f"{first.name} and {second.name} are the same"
    elif not differences:
        text = "They do not differ"
    elif {difference.field for difference in differences} == {"seed"}:
        text = "They differ only in seed"
    else:
        text = conclude(differences)
    return f"{text}. No outcome is stored for {listed(missing)}." if missing else f"{text}."


def _show(first: str, second: str, differences: Sequence[Difference]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not differences:
        return
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("field", first, second, "prevents comparing"):
        grid.add_column(Text(title), overflow="fold")
    for difference in differences:
        values = [_written(difference.field, value) for value in (difference.first, difference.second)]
        compared = difference.field.partition(".")[0] in _COMPARED
        effect = ", ".join(difference.hinders) or ("nothing: the compared setting" if compared else "nothing")
        grid.add_row(*(Text(text) for text in (difference.field, *values, effect)))
    Console(highlight=False).print(grid)


def _written(field: str, value: JsonValue) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value[:_FINGERPRINT] if field.endswith(".fingerprint") else value
    return json.dumps(value, ensure_ascii=False)
