"""The Python API: the same comparison as on the command line, as an object to ask.

    comparison = harness.compare("reviews.csv", strategies=["frozen", "lora"])
    comparison.to_frame()                      # an arm a row
    comparison.recommend(min_score="0.98x")    # which to take, and why

Takes what the command line takes, under the same names, and raises `HarnessError` with the sentence the command line prints.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, cast

from harness.analysis.comparison import Analysis, Compared, Scope, analyse
from harness.catalog import Catalog, load_catalog, with_plugin
from harness.contracts import Component, Executor, Reporter
from harness.decide.advice import Recommendation
from harness.decide.recommend import Wanted
from harness.decide.recommend import recommend as decide
from harness.errors import HarnessError, unknown
from harness.experiment.asked import Asked
from harness.experiment.plan import Plan
from harness.experiment.search import settle
from harness.quantities import parse_price
from harness.records import Failure, Run, Table
from harness.runner.executors import find_executor
from harness.runner.plans import Runner
from harness.runner.understood import brief
from harness.store import Store, write_atomically
from harness.tables.table import make_table

if TYPE_CHECKING:
    import pandas as pd

Entry = str | Mapping[str, Any] | Component
"""A component by name, as a table such as `{"name": "lora", "rank": 16}`, or itself."""


class Asking(TypedDict, total=False):
    """What else can be asked, as on the command line; lists may be one name."""

    datasets: Sequence[str] | str
    """Datasets to tune on, in order."""
    model: str
    """Base model: a name, a folder or `hub:id@revision`."""
    watch: Sequence[str] | str
    """Datasets to watch for forgetting; `none` for none."""
    limit: Sequence[str] | str
    """Rows kept of a split, such as `train=500`."""
    metrics: Sequence[str] | str
    reference: str
    """Label of the arm the others are compared with."""
    text: str
    """Column of the text in a data file."""
    label: str
    """Column of the label."""
    options: Sequence[str] | str
    """Any settings, such as `train.epochs=2`."""
    repeat: int
    """Runs of each strategy's first seed."""
    margin: float
    """Difference within which two strategies are as good as each other."""


class Comparison:
    """The numbers of an experiment: what is stored of it, asked as often as needed and computed once."""

    def __init__(self, plan: Plan, store: Store, catalog: Catalog, price: str | None = None) -> None:
        """Read a plan's stored runs; nothing is computed before it is asked for.

        Args:
            plan: What was asked.
            store: The results folder.
            catalog: The plugins.
            price: Money for an hour of a device, such as `2.50/h`; None to leave money out.
        """
        self.plan, self.store, self.catalog = plan, store, catalog
        self.price = None if price is None else parse_price(price)
        self._known: dict[Scope, Analysis] = {}

    def __repr__(self) -> str:
        """Return its name, arms and how many of its runs are done."""
        done = sum(len(part.everything) for part in self.analysis().parts)
        arms = ", ".join(arm.label for arm in self.plan.arms)
        return f"<Comparison {self.plan.name}: {arms}; {done} of {sum(len(arm.runs) for arm in self.plan.arms)} runs>"

    def _repr_html_(self) -> str:
        """Return the table as a notebook shows it, with its notes."""
        from harness.tables.html import render

        return render(self.table())

    def analysis(self, scope: Scope = "comparison") -> Analysis:
        """Return everything that is known, as `harness.analysis` has it.

        Args:
            scope: `comparison`: what each arm scores, forgets and costs; `matrix`: every score at every moment.
        """
        if scope not in self._known:
            self._known[scope] = analyse(self.plan, self.store, self.catalog, scope, self.price)
        return self._known[scope]

    def to_frame(self, scope: Scope = "comparison") -> pd.DataFrame:
        """Return an arm a row, by label: for each column of the table its mean, interval and verdict, blank where unknown.

        `part` is the number of the table an arm is in, from 0: arms of different parts cannot be compared. Units are those of
        the columns' keys, in bytes, seconds, joules, FLOP.

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
                        row[f"{key}.half_width"] = figure.half_width
                        row[f"{key}.verdict"] = known.verdict if known else None
                        row[f"{key}.difference"] = known.difference if known else None
                        row[f"{key}.p"] = known.p if known else None
                    row |= {f"{key}.{name}": value for name, value in figure.beside.items()}
                rows[arm.label] = row
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("arm")

    def runs(self) -> pd.DataFrame:
        """Return a run a row, by id: its arm, seed, state and reason, and for each column of the table its own value.

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
        """Return a test item a row: its arm, seed and id, what was predicted after the last stage, and what is right.

        `output` is what the task predicts, such as a list of scores, one for each class; `target` what is right.

        Args:
            arm: Of which arm; None for all.

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
        """Return which arm to take, how sure that is, why, and what would change it.

        Args:
            min_score: Least score: 0.85, or `0.98x` the reference's.
            max_forgetting: Most that may be lost: 0.02 of anything, or `DATASET=0.02`, or several such.
            max_memory: Most memory in tuning, such as `16GB`.
            max_time: Longest tuning of one seed, such as `20m`.
            max_size: Largest saved size, such as `10MB`.
            max_cost: Most money for tuning one seed; needs a price.
            prefer: What decides among those that can be taken: cost, score, forgetting, time, memory or size.
            confidence: How probable it must be that all is met; None for 0.8.
            baseline: Score of an answer that takes no learning, if none was run.

        Raises:
            HarnessError: Something cannot be read or was not measured, or no run has finished.

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
        return decide(self.analysis(), wanted, self.catalog).recommendation

    def table(self, scope: Scope = "comparison") -> Table:
        """Return the table that reporters are handed: columns, rows with text and numbers, footnotes, notes.

        >>> table = harness.load_experiment("reviews.csv", strategies=["frozen"], seeds=[0]).table()
        >>> [row.label for row in table.rows]
        ['untuned', 'frozen']
        """
        return make_table(self.analysis(scope))

    def save(self, path: str | Path, scope: Scope = "comparison") -> Path:
        """Write the table to a file, by the reporter whose ending the file has; returns the path.

        Raises:
            HarnessError: No reporter writes such files, or the file cannot be written.

        >>> harness.load_experiment("reviews.csv", strategies=["frozen"], seeds=[0]).save("answer.md").name
        'answer.md'
        """
        path = Path(path)
        reporters = {cls.suffix: cls for cls in reversed(self.catalog.every(Reporter))}
        if path.suffix not in reporters:
            message = (
                f"{str(path)!r}: no reporter writes files that end so: choose one of {', '.join(sorted(reporters))}"
            )
            raise HarnessError(message)
        text = self.catalog.make(Reporter, reporters[path.suffix].name, {}).render(self.table(scope))
        try:
            write_atomically(path, text)
        except OSError as error:
            message = f"{str(path)!r} cannot be written: {error.strerror or error}"
            raise HarnessError(message) from None
        return path

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
    strategies: Sequence[Entry] | None = None,
    seeds: Sequence[int] | str | None = None,
    tune: int | str | None = None,
    executor: str | Executor | None = None,
    results: str | Path = "results",
    price: str | None = None,
    keep_models: bool = False,
    plugins: Sequence[object] = (),
    without: Sequence[str] = (),
    **asked: Unpack[Asking],
) -> Comparison:
    """Compute what is missing of a comparison, and return it; what is stored is not computed again.

    Args:
        target: An experiment file (.toml), or a data file; None where `datasets` names the data.
        strategies: What is compared; None for the default ones.
        seeds: Such as `[0, 1, 2]`.
        tune: Choose each strategy's settings on validation: trials, such as 8, or device time, such as `20m`.
        executor: Where runs are computed: a name, `name:key=value`, or an executor; None for processes on this machine, or for
            this process where there are `plugins`.
        results: The results folder.
        price: Money for an hour of a device, such as `2.50/h`.
        keep_models: Save each run's model or adapter.
        plugins: Objects or modules with hooks, besides the installed plugins; other processes do not know them.
        without: Installed plugins to leave out.
        asked: What else can be asked: see `Asking`.

    Raises:
        HarnessError: Something cannot be used; what failed in single runs is in `Comparison.runs()`.

    >>> comparison = harness.compare("reviews.csv", strategies=["frozen"], seeds=[0])
    >>> comparison  # doctest: +ELLIPSIS
    <Comparison reviews-...: untuned, frozen; 2 of 2 runs>
    """
    if price is not None:
        parse_price(price)  # a mistake in it must not wait until all is computed
    catalog = _catalog(plugins, without)
    found = _asked(target, strategies, seeds, tune, asked).plan(catalog)
    chosen = executor if isinstance(executor, Executor) else find_executor(catalog, executor, {}, here=bool(plugins))
    runner = Runner(Store(Path(results)), catalog, chosen, _say, keep_models=keep_models)
    comparison, _ = carry_out(found, runner, price)
    return comparison


def carry_out(planned: Plan, runner: Runner, price: str | None = None) -> tuple[Comparison, tuple[Failure, ...]]:
    """Compute what is missing of a plan, for a call and for the command line; returns what failed just now as well."""
    done = runner.carry_out(planned, lambda found: brief(found, len(planned.arms[0].runs[0].stages)))
    return Comparison(done.plan, runner.store, runner.catalog, price), done.failures


def plan(
    target: str | Path | None = None,
    *,
    strategies: Sequence[Entry] | None = None,
    seeds: Sequence[int] | str | None = None,
    tune: int | str | None = None,
    plugins: Sequence[object] = (),
    without: Sequence[str] = (),
    **asked: Unpack[Asking],
) -> Plan:
    """Return the runs that `compare` would make, every default resolved; reads no data and computes nothing.

    Takes what `compare` takes.

    Raises:
        HarnessError: Something named is unknown, missing, double or mistyped.

    >>> planned = harness.plan("reviews.csv", strategies=["frozen"], seeds=[0, 1])
    >>> [(arm.label, len(arm.runs)) for arm in planned.arms]
    [('untuned', 2), ('frozen', 2)]
    """
    return _asked(target, strategies, seeds, tune, asked).plan(_catalog(plugins, without))


def load_experiment(
    target: str | Path | None = None,
    *,
    strategies: Sequence[Entry] | None = None,
    seeds: Sequence[int] | str | None = None,
    tune: int | str | None = None,
    results: str | Path = "results",
    price: str | None = None,
    plugins: Sequence[object] = (),
    without: Sequence[str] = (),
    **asked: Unpack[Asking],
) -> Comparison:
    """Return what is stored of a comparison; computes no run.

    Takes what `compare` takes; a comparison made on the command line is found by the same arguments.

    Raises:
        HarnessError: Something named is unknown, or there is no such results folder.

    >>> harness.load_experiment("reviews.csv", strategies=["frozen"], seeds=[0]).plan.reference is None
    True
    """
    catalog = _catalog(plugins, without)
    found = _asked(target, strategies, seeds, tune, asked)
    return load(found, Path(results), catalog, price)


def load(asked: Asked, results: Path, catalog: Catalog, price: str | None = None) -> Comparison:
    """Return what is stored of what is asked; what both `load_experiment` and the command line do.

    Raises:
        HarnessError: There is no results folder.
    """
    store = open_results(results)
    return Comparison(settle(asked.plan(catalog), store, catalog), store, catalog, price)


def open_results(results: Path) -> Store:
    """Return the results folder that is read.

    Raises:
        HarnessError: There is none.
    """
    if not results.exists():
        message = f"no results folder {str(results)!r}: run harness compare first, or name another with --results"
        raise HarnessError(message)
    return Store(results)


def _asked(
    target: str | Path | None,
    strategies: Sequence[Entry] | None,
    seeds: Sequence[int] | str | None,
    tune: int | str | None,
    more: Asking,
) -> Asked:
    names = Asking.__annotations__
    if strange := set(more) - set(names):
        raise unknown("argument", min(strange), names)
    given = {key: [value] if key in _LISTS and isinstance(value, str) else value for key, value in more.items()}
    return Asked(
        target=None if target is None else str(target),
        strategies=None if strategies is None else [_entry(one) for one in strategies],
        seeds=seeds,
        tune=tune,
        **cast("Any", given),
    )


_LISTS = {"datasets", "watch", "limit", "metrics", "options"}


def _entry(one: Entry) -> str | Mapping[str, Any]:
    return {"name": one.name, **one.model_dump(mode="json")} if isinstance(one, Component) else one


def _catalog(plugins: Sequence[object], without: Sequence[str]) -> Catalog:
    catalog = load_catalog(without)
    for number, plugin in enumerate(plugins, 1):
        catalog = with_plugin(catalog, plugin, str(getattr(plugin, "__name__", f"plugin-{number}")))
    return catalog


def _say(text: str) -> None:
    """Write a line of progress: in a notebook where its output goes, else on standard error."""
    stream = sys.stdout if hasattr(builtins, "__IPYTHON__") else sys.stderr
    stream.write(f"{text}\n")


def _text(value: str | float | None) -> str | None:
    return None if value is None else str(value)
