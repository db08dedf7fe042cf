"""Notes under a table: what a reader needs to trust or reproduce it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.analysis.comparability import listed
from harness.analysis.comparison import Analysis, Compared
from harness.analysis.measures import ScoredRun
from harness.analysis.names import called
from harness.analysis.parts import Part
from harness.analysis.planning import level_of_looks
from harness.experiment.plan import Plan
from harness.records import DataNote, Outcome, Run, SplitNote, TrainConfig, unsaid
from harness.tables.writing import (
    blank,
    count,
    in_seconds,
    plain,
    setting,
    three_decimals,
)

_BOLD = "bold: could be the best: none is shown to be better, so that the best is bold with 95 % (Hsu 1984)"
_SHOWN = 5
"""Number of classes whose counts are shown: the largest ones."""


TRANSFER = (
    "R[i, j] is the score on dataset j after stage i (0: before tuning); stage j is tuned on dataset j; S stages",
    "average: mean over j of R[S, j] (this and the next two lines: Lopez-Paz and Ranzato 2017, eq. 2 to 4)",
    "backward transfer: mean over j < S of R[S, j] - R[j, j]; final forgetting is its negative",
    "forward transfer: mean over j > 1 of R[j-1, j] - R[0, j]",
    "maximal forgetting: mean over j < S of max over j <= i < S of R[i, j] - R[S, j] (Chaudhry et al. 2018, eq. 3)",
    "maximal forgetting: its interval is over seeds only (Student's t); it is not tested for significance, and not bold",
)


def notes(analysis: Analysis, part: Compared) -> Iterable[str]:
    """Yield the notes under the table of a part."""
    for label, differences in part.part.mixed.items():
        fields = listed(found.field for found in differences)
        yield f"the runs of {label} differ in {fields}: the mean combines scores of different tests"
    yield from _unequal_budgets(part.part)
    if analysis.scope == "matrix":
        yield from TRANSFER
    yield from _about_runs(part.plan, part.everything)
    yield from _until_flat(part)
    if analysis.scope == "comparison":
        yield from _about_costs(part.everything, analysis.price)
    yield from _about_verdicts(part, reference=part.plan.reference if analysis.scope == "comparison" else None)
    if part.unsettled:
        yield part.unsettled
    yield from _about_noise(part)


def essentials(part: Compared) -> Iterable[str]:
    """Yield what must be known beside the numbers, in few lines: seeds, data, model, device and warnings."""
    plan, finished, run = part.plan, part.everything, part.plan.arms[0].runs[0]
    if not finished:
        yield "no run has finished yet"
        return
    seeds = len(plan.arms[0].runs)
    over = (
        f"n = {seeds} seeds; [ ] and ±: 95 % intervals; bold: could be the best" if seeds > 1 else "1 seed: no interval"
    )
    judged = seeds > 1 and plan.reference is not None
    yield over + (f"; verdicts: against {plan.reference}, at 95 % over the whole table" if judged else "")
    warnings = [*_unequal_budgets(part.part), *(f"{label}: mixed runs" for label in part.part.mixed)]
    told = []
    for position, problem in enumerate(run.task_data):
        note = max((item.outcome.data[position] for item in finished), key=lambda note: len(note.splits))
        sizes = ", ".join(f"{split.items:,} {name}" for name, split in note.splits.items())
        told.append(f"{called(problem.dataset)} ({'watched' if problem in run.watch else sizes})")
        warnings += note.warnings
    devices = sorted({item.outcome.device for item in finished})
    yield f"data: {', '.join(told)}; model: {called(run.model)}; device: {' | '.join(devices)}"
    if warnings:
        more = f" (and {len(warnings) - 1} more warnings)" if len(warnings) > 1 else ""
        yield f"warning: {warnings[0]}{more}"


def _unequal_budgets(part: Part) -> Iterable[str]:
    """Yield a warning if arms that learn had different numbers of epochs or different batches."""
    told = [
        f"{label} has {found.field} {blank(found.second)}, {first} {blank(found.first)}"
        for first, label, found in part.unequal_budgets()
    ]
    if told:
        yield f"unequal training budgets, which may explain differences in score: {'; '.join(told)}"


def _until_flat(part: Compared) -> Iterable[str]:
    """Yield after how many steps the best weights were reached, where training lasted until validation was flat."""
    told = [
        f"{label} {', '.join('+'.join(f'{step:,}' for step in steps) for steps in seeds)}"
        for label, seeds in part.best_steps.items()
    ]
    if told:
        yield (
            "epochs flat: trained until three checks of validation, at least 50 steps apart, brought no better score and no "
            f"clearly lower loss; steps to the best weights, by seed: {'; '.join(told)}"
        )


def _about_verdicts(part: Compared, reference: str | None) -> Iterable[str]:
    """Yield what the verdicts mean."""
    plan = part.plan
    if len(plan.arms[0].runs) < 2 or not any(found.measure.parts for found in part.measured):
        return
    if reference is None:
        yield _BOLD
        return
    within = "" if plan.margin is None else f"; equivalent: the interval of the difference lies within ±{plan.margin:g}"
    yield (
        f"verdicts compare with {reference}, paired by test item, at 95 % over the whole table: first scores and "
        f"forgetting, then the further scores of an arm whose first score differs (Bretz et al. 2009){within}{_looked(plan)}; {_BOLD}"
    )


def _looked(plan: Plan) -> str:
    """Return that verdicts are looked at several times."""
    if len(plan.looks) < 2:
        return ""
    looks = ", ".join(map(str, plan.looks))
    return f"; looks at {looks} seeds, each at {level_of_looks(plan.looks):.4f} (Pocock 1977)"


def _about_noise(part: Compared) -> Iterable[str]:
    """Yield how much runs that should be equal differ."""
    told = [
        f"{found.measure.column.title} {three_decimals(found.noise.identical)} and {three_decimals(found.noise.seeds)}"
        if found.noise.seeds is not None
        else f"{found.measure.column.title} {three_decimals(found.noise.identical)}"
        for found in part.measured
        if found.noise is not None
    ]
    if told:
        yield (
            "noise: the largest difference between runs with the same seed, then the standard deviation between seeds; "
            f"smaller differences from the reference may be noise (dimmed in the terminal): {'; '.join(told)}"
        )


def _about_runs(plan: Plan, finished: Sequence[ScoredRun]) -> Iterable[str]:
    """Yield what a reader needs to trust or reproduce the table."""
    run = plan.arms[0].runs[0]
    seeds = ", ".join(str(item.seed) for item in plan.arms[0].runs)
    folds = next((found for problem in run.stages if (found := problem.dataset.params.get("folds"))), None)
    if len(plan.arms[0].runs) > 1 and folds:
        yield (
            f"[ ] and ± are 95 % intervals of the mean over n = {len(plan.arms[0].runs)} seeds ({seeds}), each of which tests "
            f"on another of {folds} folds (Student's t with the correction of Nadeau and Bengio 2003 for overlapping training "
            "rows)" + ("; of watched datasets: over seeds and test items" if run.watch else "")
        )
    elif len(plan.arms[0].runs) > 1:
        yield (
            f"[ ] and ± are 95 % intervals of the mean over n = {len(plan.arms[0].runs)} seeds ({seeds}) and over test "
            "items (crossed random effects, Student's t for items and for seeds; of scores with a "
            "lowest and a highest value: Wilson's)"
        )
    else:
        yield f"1 seed ({seeds}): no interval; a difference may be noise"
    if len(run.task_data) > 1:
        yield (
            "forgetting: earlier score (before tuning; for a stage's dataset, after its own stage) minus final score, "
            "so 0 means nothing was forgotten (negated backward transfer, Lopez-Paz and Ranzato 2017)"
        )
    if not finished:
        yield "no run has finished yet"
        return
    outcome = finished[0].outcome
    source = f" ({run.model.fingerprint[:12]})" if run.model.fingerprint else ""
    yield f"model: {called(run.model)}{source}, {count(outcome.parameters_total)} parameters"
    for position, problem in enumerate(run.task_data):
        # The baseline reads fewer splits than the strategies that learn.
        notes = [item.outcome.data[position] for item in finished]
        note = max(notes, key=lambda note: len(note.splits))
        sizes = ", ".join(_split_size(name, split, run.train.max_length) for name, split in note.splits.items())
        moved = f"; {note.moved:,} rows left out because their text is also in another split" if note.moved else ""
        classes = _classes(note)
        warnings = (f"warning: {warning}" for warning in note.warnings)
        text = "; ".join([sizes + classes + moved, *_leaks(notes, run), *note.notes, *warnings])
        use = "watched" if problem in run.watch else "tuned on"
        yield f"{use}: {called(problem.dataset)} by {problem.task.name}: {text}"
    yield _training(plan)
    yield from _about_search(plan)
    if any(item.outcome.shared.seconds for item in finished):
        yield (
            "time: features of an unchanged body are extracted once and cached; time includes their extraction, "
            "'warm' excludes it"
        )
    for title, values in (
        ("device", {f"{item.outcome.device}, {_processes(item.outcome)}" for item in finished}),
        ("versions", {", ".join(f"{k} {v}" for k, v in item.outcome.versions.items()) for item in finished}),
    ):
        mixed = " (differs between runs: compare with care)" if len(values) > 1 else ""
        yield f"{title}: {' | '.join(sorted(values))}{mixed}"
    if (hosts := len({item.outcome.host for item in finished if item.outcome.host})) > 1:
        yield f"time: measured on {hosts} machines"
    yield from sorted({note for item in finished for note in item.outcome.notes})
    busy = sum(item.outcome.busy for item in finished)
    if busy:
        yield (
            f"time: other processes kept the machine busy when {busy} of {len(finished)} runs began, "
            "which makes times longer"
        )


def _about_costs(finished: Sequence[ScoredRun], price: float | None) -> Iterable[str]:
    """Yield how energy, money and speed were measured."""
    yield from sorted({item.outcome.energy for item in finished if item.outcome.energy is not None})
    if price is not None:
        yield f"money: {plain()(price * 3600)} per hour for each device, for the time in the time column"
    yield "compute: operations of PyTorch; a fit by another library, such as scikit-learn, is not counted"
    if any(item.outcome.inference for item in finished):
        yield (
            "inference: model of the last stage, adapters merged where possible ('apart': not merged); latency: median "
            "over single test items; throughput: in batches, as in scoring"
        )


def _about_search(plan: Plan) -> Iterable[str]:
    """Yield how settings were chosen, or a warning where a setting that matters was not searched."""
    if inner := [f"{arm.label} {arm.tried}" for arm in plan.arms if arm.tried > 1]:
        yield f"settings that each run itself compares on train or validation: {', '.join(inner)}; the others 1"
    if plan.budget is None:
        by_rate: dict[float, list[str]] = {}
        for arm in plan.arms:
            if (rate := arm.runs[0].train.learning_rate) is not None and arm.role != "baseline":
                by_rate.setdefault(rate, []).append(arm.label)
        for rate, labels in by_rate.items():
            if len(labels) > 1:
                yield (
                    f"{' and '.join(labels)} use the same learning rate, {rate:g}, without a hyperparameter search: it "
                    "may not suit them equally; --tune searches for each"
                )
        return
    yield f"hyperparameter search: on validation, {plan.budget} per strategy, with a seed not used in the table:"
    for arm in plan.arms:
        if arm.search is None:
            if arm.role != "baseline":
                why = "not searched yet; run harness compare" if arm.space else "nothing to search"
                yield f"{arm.label}: {why}"
            continue
        trials = arm.search.trials
        pruned = sum(trial.status == "pruned" for trial in trials)
        failed = sum(trial.status == "failed" for trial in trials)
        count = f"{len(trials)} trials" + (" (search space exhausted)" if arm.search.exhausted else "")
        count += f" of {arm.tried} settings each" if arm.tried > 1 else ""
        count += (f", {pruned} pruned" if pruned else "") + (f", {failed} failed" if failed else "")
        chosen = ", ".join(f"{key} {setting(value)}" for key, value in arm.search.chosen.items())
        edge = f"; at the edge of the search range: {', '.join(arm.search.edges)}" if arm.search.edges else ""
        yield f"{arm.label}: {chosen} ({count}, {in_seconds(sum(trial.seconds for trial in trials))}){edge}"


def _split_size(name: str, split: SplitNote, max_length: int) -> str:
    """Return how many rows a split has, and how many were cut or split into windows."""
    done = [f"in {split.groups:,} groups"] if split.groups is not None else []
    done += [f"in {split.windows:,} windows"] if split.windows is not None else []
    done += [f"{split.truncated:,} cut to {max_length} tokens"] if split.truncated else []
    return f"{split.items:,} {name}" + (f" ({', '.join(done)})" if done else "")


def _classes(note: DataNote) -> str:
    """Return how many classes the data has, and the counts of the largest."""
    if not note.classes:
        return ""
    if note.counts is None:
        return f", {note.classes} classes"
    totals = {name: sum(split[name] for split in note.counts.values()) for name in next(iter(note.counts.values()))}
    shown = sorted(totals, key=lambda name: -totals[name])[:_SHOWN]
    more = ", ..." if len(totals) > len(shown) else ""
    return f", {note.classes} classes ({', '.join(f'{name} {totals[name]:,}' for name in shown)}{more})"


def _leaks(notes: Sequence[DataNote], run: Run) -> Iterable[str]:
    """Yield how many test texts the model has seen in tuning, exactly or nearly."""
    items = max((note.splits["test"].items for note in notes if "test" in note.splits), default=0)
    for leak in next((note.leaks for note in notes if note.leaks is not None), ()):
        place = leak.split if leak.stage is None else f"{leak.split} of {called(run.stages[leak.stage].dataset)}"
        if leak.exact:
            more = f", and {leak.near:,} more ignoring punctuation and Unicode form" if leak.near else ""
            yield f"{leak.exact:,} of {items:,} test texts also occur in {place}{more}"
        else:
            yield f"{leak.near:,} of {items:,} test texts also occur in {place} ignoring punctuation and Unicode form"


def _training(plan: Plan) -> str:
    """Return the training settings: first those shared by all arms, then those that differ."""
    settings = {arm.label: arm.runs[0].train for arm in plan.arms}
    learning = {arm.label: settings[arm.label] for arm in plan.arms if arm.role != "baseline"} or settings
    # Settings added in later versions are shown only where an arm sets them.
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


def _processes(outcome: Outcome) -> str:
    count = outcome.processes
    shared = " that share the model while they train it" if outcome.sharded else ""
    return "1 process" if count == 1 else f"{count} processes{shared}"
