"""The Python API: the same comparison as on the command line, as an object.

    comparison = harness.compare("reviews.csv", strategies=["frozen", "lora"])
    comparison.to_frame()                      # one row per arm
    comparison.recommend(min_score="0.98x")    # the recommended arm, and why

Arguments have the same names as on the command line; `HarnessError` has the message that the command line prints.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, cast

import numpy as np

from harness.analysis.comparison import Analysis, Compared, Scope, analyse
from harness.catalog import Catalog, load_catalog, with_plugin
from harness.contracts import Component, Dataset, Executor, Model, Reporter, Strategy, Task
from harness.decide.advice import Recommendation
from harness.decide.recommend import Wanted
from harness.decide.recommend import recommend as decide
from harness.engine.cache import Cache
from harness.engine.data import prepare
from harness.errors import HarnessError, unknown
from harness.experiment.asked import Asked
from harness.experiment.plan import Plan
from harness.experiment.search import settle
from harness.quantities import parse_price
from harness.records import Failure, Run, TaskData
from harness.reports import Report, Table
from harness.runner.executors import find_executor
from harness.runner.plans import Runner
from harness.runner.tracking import Tracking, find_trackers
from harness.runner.understood import brief
from harness.store import Store, dump, file_name, write_atomically
from harness.tables.report import Texts, arm_reports, class_reports, curve_reports, dataset_reports
from harness.tables.table import make_table

if TYPE_CHECKING:
    import pandas as pd

Entry = str | Mapping[str, Any] | Component
"""A component: its name, a table such as `{"name": "lora", "rank": 16}`, or an instance."""


class Asking(TypedDict, total=False):
    """Further arguments, as on the command line; a list can be a single name."""

    datasets: Sequence[str | PathLike[str]] | str | PathLike[str]
    """Datasets to tune on, in order."""
    model: str | PathLike[str]
    """Base model: a name, a folder or `hub:id@revision`."""
    watch: Sequence[str | PathLike[str]] | str | PathLike[str]
    """Datasets to watch for forgetting; `none` disables watching."""
    limit: Sequence[str] | str
    """Maximum rows per split, such as `train=500`."""
    metrics: Sequence[str] | str
    reference: str
    """Label of the reference arm, which the others are compared with."""
    text: str
    """Text column of the data file."""
    label: str
    """Label column of the data file."""
    options: Sequence[str] | str
    """Any settings, such as `train.epochs=2`."""
    repeat: int
    """Number of runs of each strategy's first seed."""
    looks: Sequence[int]
    """Numbers of seeds at which you look at the verdicts before you add more."""
    folds: int
    """Cross-validation: number of parts, of which each seed tests on one."""
    margin: float
    """Equivalence margin: strategies that differ by less are equivalent."""
    name: str
    """Name of the comparison, by which it is found again."""


class Comparison:
    """The stored results of an experiment; each analysis is computed once, on first use."""

    def __init__(self, plan: Plan, store: Store, catalog: Catalog, price: str | None = None) -> None:
        """Create a comparison of a plan's stored runs; nothing is computed before it is needed.

        Args:
            plan: The plan.
            store: The results folder.
            catalog: The plugins.
            price: Device price per hour, such as `2.50/h`; None to leave out money.
        """
        self.plan, self.store, self.catalog = plan, store, catalog
        self.price = None if price is None else parse_price(price)
        self._known: dict[Scope, Analysis] = {}

    def __repr__(self) -> str:
        """Return the name, the arms and the number of finished runs."""
        done = sum(len(part.everything) for part in self.analysis().parts)
        arms = ", ".join(arm.label for arm in self.plan.arms)
        return f"<Comparison {self.plan.name}: {arms}; {done} of {sum(len(arm.runs) for arm in self.plan.arms)} runs>"

    def _repr_html_(self) -> str:
        """Return the table with its notes as HTML, for notebooks."""
        from harness.tables.html import render

        return render(self.table())

    def analysis(self, scope: Scope = "comparison") -> Analysis:
        """Return the full analysis; see `harness.analysis`.

        Args:
            scope: `comparison`: score, forgetting and cost of each arm; `matrix`: the score of every dataset
                after every stage.
        """
        if scope not in self._known:
            self._known[scope] = analyse(self.plan, self.store, self.catalog, scope, self.price)
        return self._known[scope]

    def to_frame(self, scope: Scope = "comparison") -> pd.DataFrame:
        """Return one row per arm, by label, with mean, interval and verdict of each table column, blank if unknown.

        `part` is the number of the arm's table, from 0: arms of different parts cannot be compared. Units are those of
        the columns' keys: bytes, seconds, joules, FLOP.

        >>> frame = harness.load_experiment("reviews.csv", strategies=["frozen"], seeds=[0]).to_frame()
        >>> bool(frame.loc["frozen", "accuracy"] > 0.5)
        True
        """
        import pandas as pd

        rows = {}
        for number, part in enumerate(self.analysis(scope).parts):
            for arm in part.plan.arms:
                row: dict[str, Any] = {"part": number, "role": arm.role, "n": len(part.runs[arm.label])}
                for measured in part.measured:
                    key, figure = measured.measure.column.key, measured.figures[arm.label]
                    row[key] = figure.mean
                    if measured.measure.parts:
                        known = figure.judgement
                        row[f"{key}.low"] = figure.interval.low if figure.interval else None
                        row[f"{key}.high"] = figure.interval.high if figure.interval else None
                        row[f"{key}.verdict"] = known.verdict if known else None
                        row[f"{key}.difference"] = known.difference if known else None
                        row[f"{key}.p"] = known.p if known else None
                    row |= {f"{key}.{name}": value for name, value in figure.beside.items()}
                rows[arm.label] = row
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("arm")

    def runs(self) -> pd.DataFrame:
        """Return one row per run, by id, with its arm, seed, state and reason, and its value for each table column.

        >>> runs = harness.load_experiment("reviews.csv", strategies=["frozen"], seeds=[0]).runs()
        >>> list(runs["status"].unique())
        ['done']
        """
        import pandas as pd

        rows = {}
        for part in self.analysis().parts:
            for arm in part.plan.arms:
                finished = {one.run.id: at for at, one in enumerate(part.runs[arm.label])}
                for run in arm.runs:
                    row = {"arm": arm.label, "seed": run.seed, **self._state(run)}
                    if (at := finished.get(run.id)) is not None:
                        row |= self._happened(part, arm.label, at)
                    rows[run.id] = row
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("run")

    def predictions(self, arm: str | None = None) -> pd.DataFrame:
        """Return one row per test item, with its arm, seed and id, the prediction after the last stage, and the target.

        `output` is the prediction of the task, such as a list of scores, one for each class; `target` is the correct
        value.

        Args:
            arm: Label of the arm; None for all arms.

        Raises:
            HarnessError: There is no such arm.

        >>> predictions = harness.load_experiment("reviews.csv", strategies=["frozen"], seeds=[0]).predictions("frozen")
        >>> list(predictions.columns)
        ['arm', 'seed', 'dataset', 'item', 'output', 'target']
        """
        import pandas as pd

        labels = [one.label for one in self.plan.arms]
        if arm is not None and arm not in labels:
            raise unknown("arm", arm, labels)
        frames = []
        for part in self.analysis().parts:
            for label, finished in part.runs.items():
                for one in finished if arm in (None, label) else ():
                    last = len(one.run.stages)
                    scored = {
                        cell.problem for cell in one.outcome.evaluations if cell.moment == last and not cell.undefined
                    }
                    for position, problem in enumerate(one.run.stages):
                        if position in scored:
                            found = self.store.predictions(one.run, last, position)
                            columns = {
                                "arm": label, "seed": one.run.seed, "dataset": problem.dataset.name, "item": list(found.ids),
                                "output": list(found.outputs), "target": list(found.targets),
                            }  # fmt: skip
                            frames.append(pd.DataFrame(columns))
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    def recommend(
        self,
        *,
        min_score: str | float | None = None,
        max_forgetting: str | float | Sequence[str] | None = None,
        max_memory: str | None = None,
        max_time: str | None = None,
        max_size: str | None = None,
        max_cost: str | float | None = None,
        prefer: str = "cost",
        confidence: float | None = None,
        baseline: str | float | None = None,
    ) -> Recommendation:
        """Return the recommended arm, its probability of meeting the constraints, the reasons, and possible changes.

        Args:
            min_score: Minimum score: 0.85, or `0.98x` for a share of the reference's.
            max_forgetting: Maximum forgetting: 0.02 for all watched datasets, `DATASET=0.02`, or a list of these.
            max_memory: Maximum memory for tuning, such as `16GB`.
            max_time: Maximum tuning time per seed, such as `20m`.
            max_size: Maximum saved size, such as `10MB`.
            max_cost: Maximum cost of tuning per seed; needs a price.
            prefer: Criterion that decides among eligible arms: cost, score, forgetting, time, memory or size.
            confidence: Required probability that all constraints are met; None for 0.95.
            baseline: Score of a baseline that learns nothing, if no baseline was run.

        Raises:
            HarnessError: A constraint is invalid or was not measured, or no run has finished.

        >>> advice = harness.load_experiment("reviews.csv", strategies=["frozen"], seeds=[0]).recommend(min_score=0.5)
        >>> advice.choice
        'frozen'
        """
        lost = [max_forgetting] if isinstance(max_forgetting, (str, float, int)) else list(max_forgetting or ())
        wanted = Wanted(
            min_score=_text(min_score), max_forgetting=tuple(map(str, lost)), max_memory=max_memory, max_time=max_time,
            max_size=max_size, max_cost=_text(max_cost), prefer=prefer, baseline=_text(baseline),
        )  # fmt: skip
        if confidence is not None:
            wanted = wanted._replace(confidence=confidence)
        wanted.check(self.price)
        return decide(self.analysis(), wanted, self.catalog).recommendation

    def table(self, scope: Scope = "comparison") -> Table:
        """Return the table that reporters receive: columns, rows with text and numbers, footnotes, notes.

        >>> table = harness.load_experiment("reviews.csv", strategies=["frozen"], seeds=[0]).table()
        >>> [row.label for row in table.rows]
        ['untuned', 'frozen']
        """
        return make_table(self.analysis(scope), self._answer() if scope == "comparison" else ())

    def report(self, *, texts: bool = True) -> Report:
        """Return everything that a page about this comparison shows: table, recommendation, data, curves, answers.

        Args:
            texts: Whether to include the texts of the test items on which arms differ most.

        >>> report = harness.load_experiment("reviews.csv", strategies=["frozen"], seeds=[0]).report()
        >>> report.classes[0].classes
        ('0', '1')
        """
        analysis = self.analysis()
        first = analysis.parts[0]
        arms = arm_reports(analysis)
        try:
            decision = decide(analysis, Wanted(), self.catalog)
        except HarnessError:
            decision = None
        advice = decision.recommendation if decision else None
        judged = {one.label: one for one in advice.arms} if advice else {}
        title, curves = curve_reports(first, self.store, self.catalog)
        several = len(self.plan.arms[0].runs[0].stages) > 1
        kept = self.plan.spec
        return Report(
            table=self.table(),
            matrix=self.table("matrix") if several else None,
            reasons=advice.reasons if advice else (),
            changes=advice.changes if advice else (),
            front=tuple(
                source.criterion.title
                for source in decision.sources
                if source.criterion.key in decision.recommendation.front
            )
            if decision
            else (),
            arms=tuple(
                arm.model_copy(
                    update={
                        "learned": known.learned,
                        "front": known.front,
                        "chosen": known.verdict == "choice",
                        "why": known.why,
                    }
                )
                if (known := judged.get(arm.label))
                else arm
                for arm in arms
            ),
            datasets=tuple(dataset_reports(first)),
            curves=tuple(curves),
            curve_title=title,
            classes=tuple(class_reports(first, self.store, self.catalog, lambda one: self._texts(one, shown=texts))),
            experiment="" if kept is None else dump(kept.model_dump(mode="json", exclude_defaults=True)),
            command="" if kept is None else f"harness compare {file_name(self.plan.name)}.json",
        )

    def _texts(self, problem: TaskData, *, shown: bool) -> Texts | None:
        """Return the classes and test texts of a dataset; None if its data cannot be read any more."""
        dataset = self.catalog.restore(Dataset, problem.dataset)
        seed = None if dataset.folds else self.plan.arms[0].runs[0].seed
        try:
            prepared = prepare(dataset, problem.dataset, Cache(self.store.cache), seed)
        except (HarnessError, OSError):
            return None
        found: dict[int, str] = {}
        for rows in (prepared.splits.values() if dataset.folds else [prepared.splits["test"]]) if shown else ():
            columns = [rows[name][:] for name in ("text", "text_pair") if name in rows.column_names]
            told = (" | ".join(map(str, parts)) for parts in zip(*columns, strict=True))
            found |= dict(zip(rows["id"][:], told, strict=True))
        return Texts(tuple(prepared.facts.classes or ()), found)

    def save(self, path: str | Path, scope: Scope = "comparison") -> Path:
        """Write the table to a file with the reporter for its suffix; return the path.

        Raises:
            HarnessError: No reporter writes this file type, or the file cannot be written.

        >>> harness.load_experiment("reviews.csv", strategies=["frozen"], seeds=[0]).save("answer.md").name
        'answer.md'
        """
        path = Path(path)
        reporters = {cls.suffix: cls for cls in reversed(self.catalog.every(Reporter))}
        if path.suffix not in reporters:
            message = f"{str(path)!r}: no reporter writes this file type: use one of {', '.join(sorted(reporters))}"
            raise HarnessError(message)
        reporter = self.catalog.make(Reporter, reporters[path.suffix].name, {})
        whole = reporter.whole and scope == "comparison"
        text = reporter.render_report(self.report()) if whole else reporter.render(self.table(scope))
        try:
            write_atomically(path, text)
        except OSError as error:
            message = f"{str(path)!r} cannot be written: {error.strerror or error}"
            raise HarnessError(message) from None
        return path

    def _answer(self) -> Sequence[str]:
        """Return the recommendation without constraints, in at most two sentences; none if there is no score yet."""
        try:
            return self.recommend().reasons[:2]
        except HarnessError:
            return ()

    def _state(self, run: Run) -> dict[str, str | None]:
        if self.store.sound(run) is not None:
            return {"status": "done", "reason": None}
        failure = self.store.failure(run)
        return (
            {"status": failure.status, "reason": failure.reason} if failure else {"status": "missing", "reason": None}
        )

    @staticmethod
    def _happened(part: Compared, label: str, at: int) -> dict[str, Any]:
        outcome = part.runs[label][at].outcome
        values = {one.measure.column.key: one.figures[label].values[at].value for one in part.measured}  # noqa: PD011 - no frame
        return {**values, "wall_seconds": outcome.wall_seconds, "device": outcome.device}


def compare(
    target: str | Path | None = None,
    *,
    strategies: Sequence[Entry] | Entry | None = None,
    seeds: Sequence[int] | int | str | None = None,
    tune: int | str | None = None,
    executor: str | Executor | None = None,
    track: Sequence[str] | str = (),
    results: str | Path = "results",
    price: str | None = None,
    keep_models: bool = False,
    plugins: Sequence[object] = (),
    without: Sequence[str] = (),
    **asked: Unpack[Asking],
) -> Comparison:
    """Compute the missing runs of a comparison, and return it; stored runs are not computed again.

    Args:
        target: An experiment file (.toml, .yaml, .json), a data file, or the name of a comparison; None if `datasets`
            gives the data.
        strategies: Strategies to compare; None for the default ones.
        seeds: Seeds, such as `[0, 1, 2]`.
        tune: Hyperparameter search on validation, for each strategy: trials, such as 8, or device time, such as `20m`.
        executor: Where runs are computed: a name, `name:key=value`, or an executor; None for processes on this machine,
            or this process if there are `plugins`.
        track: Trackers that are sent progress and results: names, or `name:key=value`.
        results: The results folder.
        price: Device price per hour, such as `2.50/h`.
        keep_models: Save each run's model or adapter.
        plugins: Objects or modules with hooks, in addition to the installed plugins; not available in other processes.
        without: Installed plugins to leave out.
        asked: Further arguments: see `Asking`.

    Raises:
        HarnessError: An argument cannot be used. Failures of single runs are in `Comparison.runs()`.

    >>> comparison = harness.compare("reviews.csv", strategies=["frozen"], seeds=[0])
    >>> comparison  # doctest: +ELLIPSIS
    <Comparison reviews-...: untuned, frozen; 2 of 2 runs>
    """
    if price is not None:
        parse_price(price)  # report an invalid price before computing anything
    catalog = _catalog(plugins, without)
    found = _asked(target, strategies, seeds, tune, asked).named_in(Path(results)).plan(catalog)
    chosen = _executor(catalog, executor, plugins)
    trackers = find_trackers(catalog, [track] if isinstance(track, str) else track)
    tracking = Tracking(trackers, _say) if trackers else None
    runner = Runner(Store(Path(results)), catalog, chosen, _say, keep_models=keep_models, tracking=tracking)
    comparison, _ = carry_out(found, runner, price)
    if tracking:
        send_results(comparison, tracking)
    return comparison


def carry_out(planned: Plan, runner: Runner, price: str | None = None) -> tuple[Comparison, tuple[Failure, ...]]:
    """Compute the missing runs of a plan, for the API and the command line; return also the failures of this call."""
    if runner.tracking:
        runner.tracking.begin(planned)
    done = runner.carry_out(planned, lambda found: brief(found, len(planned.arms[0].runs[0].stages)))
    return Comparison(done.plan, runner.store, runner.catalog, price), done.failures


def send_results(comparison: Comparison, tracking: Tracking, files: Sequence[Path] = ()) -> None:
    """Send the results of all runs to the trackers, and end them."""
    runs = {run.id: run for _, run in comparison.plan.runs}
    rows = [
        (
            runs[str(found)],
            str(row.pop("arm")),
            str(row.pop("status")),
            {str(key): float(value) for key, value in row.items() if key != "seed" and _is_number(value)},
        )
        for found, row in comparison.runs().to_dict(orient="index").items()
    ]
    tracking.end(rows, files)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and bool(np.isfinite(value))


def plan(
    target: str | Path | None = None,
    *,
    strategies: Sequence[Entry] | Entry | None = None,
    seeds: Sequence[int] | int | str | None = None,
    tune: int | str | None = None,
    plugins: Sequence[object] = (),
    without: Sequence[str] = (),
    **asked: Unpack[Asking],
) -> Plan:
    """Return the runs that `compare` would compute, with all defaults resolved; reads no data and computes nothing.

    Takes the same arguments as `compare`.

    Raises:
        HarnessError: A name or setting is unknown, missing, duplicated or mistyped.

    >>> planned = harness.plan("reviews.csv", strategies=["frozen"], seeds=[0, 1])
    >>> [(arm.label, len(arm.runs)) for arm in planned.arms]
    [('untuned', 2), ('frozen', 2)]
    """
    return _asked(target, strategies, seeds, tune, asked).plan(_catalog(plugins, without))


def load_experiment(
    target: str | Path | None = None,
    *,
    strategies: Sequence[Entry] | Entry | None = None,
    seeds: Sequence[int] | int | str | None = None,
    tune: int | str | None = None,
    results: str | Path = "results",
    price: str | None = None,
    plugins: Sequence[object] = (),
    without: Sequence[str] = (),
    **asked: Unpack[Asking],
) -> Comparison:
    """Return a comparison from stored runs; computes no run.

    Takes the same arguments as `compare`; the same arguments also find a comparison made on the command line.

    Raises:
        HarnessError: A name is unknown, or the results folder does not exist.

    >>> harness.load_experiment("reviews.csv", strategies=["frozen"], seeds=[0]).plan.reference is None
    True
    """
    catalog = _catalog(plugins, without)
    found = _asked(target, strategies, seeds, tune, asked).named_in(Path(results))
    return load(found, Path(results), catalog, price)


def load(asked: Asked, results: Path, catalog: Catalog, price: str | None = None) -> Comparison:
    """Return the comparison of a request from stored runs, for `load_experiment` and the command line.

    Raises:
        HarnessError: The results folder does not exist.
    """
    store = open_results(results)
    return Comparison(settle(asked.plan(catalog), store, catalog), store, catalog, price)


def open_results(results: Path) -> Store:
    """Return an existing results folder.

    Raises:
        HarnessError: The folder does not exist.
    """
    if not results.exists():
        message = (
            f"no results folder {str(results)!r}: run harness compare first, or give another folder with --results"
        )
        raise HarnessError(message)
    return Store(results)


def _asked(
    target: str | Path | None,
    strategies: Sequence[Entry] | Entry | None,
    seeds: Sequence[int] | int | str | None,
    tune: int | str | None,
    more: Asking,
) -> Asked:
    names = Asking.__annotations__
    if strange := set(more) - set(names):
        raise unknown("argument", min(strange), names)
    given = {key: _texts(value) if key in _LISTS else _plain(value) for key, value in more.items()}
    if isinstance(strategies, (str, Mapping, Component)):
        strategies = [strategies]
    return Asked(
        target=None if target is None else str(target),
        strategies=None if strategies is None else [_entry(one) for one in strategies],
        seeds=[seeds] if isinstance(seeds, int) else seeds,
        tune=tune,
        **cast("Any", given),
    )


_LISTS = {"datasets", "watch", "limit", "metrics", "options"}


def _entry(one: Entry) -> str | Mapping[str, Any]:
    return {"name": one.name, **one.model_dump(mode="json")} if isinstance(one, Component) else one


def _texts(value: Any) -> list[str] | None:
    """Return one or several names or paths as a list of texts."""
    if value is None:
        return None
    return [str(_plain(one)) for one in ([value] if isinstance(value, (str, PathLike)) else value)]


def _plain(value: Any) -> Any:
    return fspath(value) if isinstance(value, PathLike) else value


def _executor(catalog: Catalog, asked: str | Executor | None, plugins: Sequence[object]) -> Executor:
    if isinstance(asked, Executor):
        chosen = asked
    else:
        chosen = find_executor(catalog, asked, {}, here=bool(plugins and not asked))
    unknown_there = [name for kind in _COMPUTED_WITH for name in catalog.by_hand(kind)]
    if unknown_there and not chosen.here:
        message = (
            f"executor {chosen.name!r} computes in other processes, which do not know {', '.join(unknown_there)} from "
            "`plugins`: leave out `executor`, or install the plugin"
        )
        raise HarnessError(message)
    return chosen


_COMPUTED_WITH: tuple[type[Component], ...] = (Model, Dataset, Task, Strategy)


def _catalog(plugins: Sequence[object], without: Sequence[str]) -> Catalog:
    catalog = load_catalog(without)
    for number, plugin in enumerate(plugins, 1):
        catalog = with_plugin(catalog, plugin, str(getattr(plugin, "__name__", f"plugin-{number}")))
    return catalog


def _say(text: str) -> None:
    """Write a progress line: to the output of a notebook cell, otherwise to standard error."""
    stream = sys.stdout if hasattr(builtins, "__IPYTHON__") else sys.stderr
    stream.write(f"{text}\n")


def _text(value: str | float | None) -> str | None:
    return None if value is None else str(value)
