"""The lines under a table: what a reader must know to trust or repeat it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.analysis.comparability import listed
from harness.analysis.comparison import Analysis, Compared
from harness.analysis.measures import ScoredRun
from harness.analysis.names import called
from harness.analysis.parts import Part
from harness.analysis.statistics import RESAMPLES
from harness.experiment.plan import Plan
from harness.records import DataNote, Run, SplitNote, TrainConfig, unsaid
from harness.tables.writing import (
    blank,
    count,
    in_seconds,
    plain,
    setting,
    three_decimals,
)

_SHOWN = 5
"""Classes that the note counts; of more, the largest."""


TRANSFER = (
    "R[i, j] is the score on dataset j after stage i (0: before tuning); stage j teaches dataset j; S stages",
    "average: mean over j of R[S, j] (this and the next two: Lopez-Paz and Ranzato 2017, equations 2 to 4)",
    "backward transfer: mean over j < S of R[S, j] - R[j, j]; final forgetting is the same, negated",
    "forward transfer: mean over j > 1 of R[j-1, j] - R[0, j]",
    "maximal forgetting: mean over j < S of max over j <= i < S of R[i, j] - R[S, j] (Chaudhry et al. 2018, equation 3)",
    "± of these is the 95 % interval of the mean over seeds alone (Student's t); they are not compared, and none is bold",
)


def notes(analysis: Analysis, part: Compared) -> Iterable[str]:
    """Yield the lines under the table of a part."""
    for label, differences in part.part.mixed.items():
        fields = listed(found.field for found in differences)
        yield f"the runs of {label} differ among themselves in {fields}: its mean is over unlike tests"
    yield from _unequal_budgets(part.part)
    if analysis.scope == "matrix":
        yield from TRANSFER
    yield from _about_runs(part.plan, part.everything)
    if analysis.scope == "comparison":
        yield from _about_costs(part.everything, analysis.price)
    yield from _about_verdicts(part, reference=part.plan.reference if analysis.scope == "comparison" else None)
    yield from _about_noise(part)


def _unequal_budgets(part: Part) -> Iterable[str]:
    """Yield a warning where arms that learn were not given the same passes over the data, or the same batches."""
    told = [
        f"{label} has {found.field} {blank(found.second)}, {first} {blank(found.first)}"
        for first, label, found in part.unequal_budgets()
    ]
    if told:
        yield f"unequal budgets, so that what one arm scores more may be owed to its own: {'; '.join(told)}"


def _about_verdicts(part: Compared, reference: str | None) -> Iterable[str]:
    """Yield what the verdicts mean."""
    plan = part.plan
    if len(plan.arms[0].runs) < 2 or not any(found.measure.parts for found in part.measured):
        return
    if reference is None:
        yield "bold: no arm is shown to be better, at 95 % for all pairs of arms of a column together (Holm)"
        return
    within = "" if plan.margin is None else f"; equivalent: the interval of the difference lies within ±{plan.margin:g}"
    yield (
        f"verdicts are against {reference}, paired by test item, at 95 % for all arms of a column together (Holm){within}; "
        "bold: no arm is shown to be better"
    )


def _about_noise(part: Compared) -> Iterable[str]:
    """Yield how much runs differ that should not."""
    told = [
        f"{found.measure.column.title} {three_decimals(found.noise.identical)} and {three_decimals(found.noise.seeds)}"
        if found.noise.seeds is not None
        else f"{found.measure.column.title} {three_decimals(found.noise.identical)}"
        for found in part.measured
        if found.noise is not None
    ]
    if told:
        yield (
            "noise: run again with the same seed, values differ by at most the first number, with another seed by the second "
            f"(standard deviation); smaller differences from the reference are dimmed: {'; '.join(told)}"
        )


def _about_runs(plan: Plan, finished: Sequence[ScoredRun]) -> Iterable[str]:
    """Return what a reader must know to trust or repeat the table."""
    run = plan.arms[0].runs[0]
    seeds = ", ".join(str(item.seed) for item in plan.arms[0].runs)
    if len(plan.arms[0].runs) > 1:
        yield (
            f"± of scores and forgetting is the 95 % interval of the mean over n = {len(plan.arms[0].runs)} seeds ({seeds}) and "
            f"over test items (crossed bootstrap of {RESAMPLES:,} resamples, Student's t with Satterthwaite's degrees of freedom)"
        )
    else:
        yield f"1 seed ({seeds}): no interval; a difference may be noise"
    if len(run.task_data) > 1:
        yield (
            "forgetting: score when known (before tuning; for a stage, when learned) minus score at the end, so that "
            "0 is nothing lost (negated backward transfer, Lopez-Paz and Ranzato 2017)"
        )
    if not finished:
        yield "no run has finished yet"
        return
    outcome = finished[0].outcome
    source = f" ({run.model.fingerprint[:12]})" if run.model.fingerprint else ""
    yield f"model: {called(run.model)}{source}, {count(outcome.parameters_total)} parameters"
    for position, problem in enumerate(run.task_data):
        # The baseline looks at fewer splits than the strategies that learn.
        notes = [item.outcome.data[position] for item in finished]
        note = max(notes, key=lambda note: len(note.splits))
        sizes = ", ".join(_split_size(name, split, run.train.max_length) for name, split in note.splits.items())
        moved = f"; {note.moved:,} rows left out: their text is in another split" if note.moved else ""
        classes = _classes(note)
        yield f"{'watched' if problem in run.watch else 'tuned on'}: {called(problem.dataset)} by {problem.task.name}: {'; '.join([sizes + classes + moved, *_leaks(notes, run), *note.notes, *(f'warning: {warning}' for warning in note.warnings)])}"
    yield _training(plan)
    yield from _about_search(plan)
    if any(item.outcome.shared.seconds for item in finished):
        yield (
            "tune: features of an unchanged body are extracted once and shared; the time counts their extraction, "
            "'warm' is without it"
        )
    for title, values in (
        ("device", {f"{item.outcome.device}, {_processes(item.outcome.processes)}" for item in finished}),
        ("versions", {", ".join(f"{k} {v}" for k, v in item.outcome.versions.items()) for item in finished}),
    ):
        mixed = " (runs differ in this: compare with care)" if len(values) > 1 else ""
        yield f"{title}: {' | '.join(sorted(values))}{mixed}"
    yield from sorted({note for item in finished for note in item.outcome.notes})


def _about_costs(finished: Sequence[ScoredRun], price: float | None) -> Iterable[str]:
    """Return what a reader must know of energy, money and speed."""
    yield from sorted({item.outcome.energy for item in finished if item.outcome.energy is not None})
    if price is not None:
        yield f"money: {plain()(price * 3600)} an hour for each device, for what the time counts"
    if any(item.outcome.inference for item in finished):
        yield (
            "inference: the last stage's model, adapters merged where they can be ('apart': beside the weights); latency: median of "
            "single test items; throughput: in batches like scoring's"
        )


def _about_search(plan: Plan) -> Iterable[str]:
    """Return how settings were chosen, or that they were not where it matters."""
    if plan.budget is None:
        by_rate: dict[float, list[str]] = {}
        for arm in plan.arms:
            if (rate := arm.runs[0].train.learning_rate) is not None and arm.role != "baseline":
                by_rate.setdefault(rate, []).append(arm.label)
        for rate, labels in by_rate.items():
            if len(labels) > 1:
                yield (
                    f"{' and '.join(labels)} share the learning rate {rate:g}, which was not searched for: what suits one may not "
                    "suit the other; --tune chooses for each"
                )
        return
    yield f"settings were chosen on validation, {plan.budget} for each strategy, with a seed that no run of the table has:"
    for arm in plan.arms:
        if arm.search is None:
            if arm.role != "baseline":
                why = "they are still to be chosen: harness compare" if arm.space else "it has none to choose"
                yield f"{arm.label}: {why}"
            continue
        trials = arm.search.trials
        pruned = sum(trial.status == "pruned" for trial in trials)
        failed = sum(trial.status == "failed" for trial in trials)
        count = f"{len(trials)} trials" + (" (all there are)" if arm.search.exhausted else "")
        count += (f", {pruned} pruned" if pruned else "") + (f", {failed} failed" if failed else "")
        chosen = ", ".join(f"{key} {setting(value)}" for key, value in arm.search.chosen.items())
        edge = f"; at the end of what was searched: {', '.join(arm.search.edges)}" if arm.search.edges else ""
        yield f"{arm.label}: {chosen} ({count}, {in_seconds(sum(trial.seconds for trial in trials))}){edge}"


def _split_size(name: str, split: SplitNote, max_length: int) -> str:
    """Return how many rows a split has, and what had to be done to long ones."""
    done = [f"in {split.windows:,} windows"] if split.windows is not None else []
    done += [f"{split.truncated:,} cut to {max_length} tokens"] if split.truncated else []
    return f"{split.items:,} {name}" + (f" ({', '.join(done)})" if done else "")


def _classes(note: DataNote) -> str:
    """Return how many classes the data has, and how often the largest of them occur."""
    if not note.classes:
        return ""
    if note.counts is None:
        return f", {note.classes} classes"
    totals = {name: sum(split[name] for split in note.counts.values()) for name in next(iter(note.counts.values()))}
    shown = sorted(totals, key=lambda name: -totals[name])[:_SHOWN]
    more = ", ..." if len(totals) > len(shown) else ""
    return f", {note.classes} classes ({', '.join(f'{name} {totals[name]:,}' for name in shown)}{more})"


def _leaks(notes: Sequence[DataNote], run: Run) -> Iterable[str]:
    """Yield how many test texts are no test of a model that was tuned on them, or on nearly the same."""
    items = max((note.splits["test"].items for note in notes if "test" in note.splits), default=0)
    for leak in next((note.leaks for note in notes if note.leaks is not None), ()):
        place = leak.split if leak.stage is None else f"{leak.split} of {called(run.stages[leak.stage].dataset)}"
        if leak.exact:
            more = f", and {leak.near:,} more but for punctuation or Unicode form" if leak.near else ""
            yield f"{leak.exact:,} of {items:,} test texts stand in {place} too{more}"
        else:
            yield f"{leak.near:,} of {items:,} test texts stand in {place} too but for punctuation or Unicode form"


def _training(plan: Plan) -> str:
    """Return the training settings: those all arms share, then those in which they differ."""
    settings = {arm.label: arm.runs[0].train for arm in plan.arms}
    learning = {arm.label: settings[arm.label] for arm in plan.arms if arm.role != "baseline"} or settings
    # Settings that came later are told where an arm has them.
    names = [name for name in TrainConfig.model_fields if any(name not in unsaid(train) for train in learning.values())]
    configs = {label: {name: getattr(train, name) for name in names} for label, train in learning.items()}
    first = next(iter(configs.values()))
    shared = {key: value for key, value in first.items() if all(config[key] == value for config in configs.values())}
    shown = ", ".join(
        f"{key} {setting(value)}" for key, value in shared.items() if value is not None and value is not False
    )
    differing = [key for key in first if key not in shared]
    parts = [
        f"{key}: " + ", ".join(f"{label} {blank(config[key])}" for label, config in configs.items())
        for key in differing
    ]
    return "; ".join([f"training: {shown}", *parts])


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"
