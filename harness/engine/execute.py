"""Execution of one run, from its record to its outcome and predictions."""

from __future__ import annotations

import functools
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import accelerate
import numpy as np
import torch
from accelerate.utils import gather_object
from torch import nn

from harness.catalog import Catalog
from harness.contracts import Component, Dataset, Metric, Model, Strategy, Task
from harness.delivery.manifest import versions
from harness.engine.cache import Cache
from harness.engine.checkpoint import Checkpoints
from harness.engine.compat import taken_plainly
from harness.engine.data import Tokens, check_problem, prepare, split_counts, with_train_of
from harness.engine.deliver import deliver
from harness.engine.energy import open_energy
from harness.engine.evaluate import DataView
from harness.engine.features import Features
from harness.engine.leaks import find_leaks
from harness.engine.meter import Meter, merge_phases
from harness.engine.models import RunLoader, body_digest, build_heads
from harness.engine.serve import measure_inference
from harness.engine.session import Session, describe_device, has_bf16_units
from harness.engine.stage import RunStage
from harness.errors import UndefinedError
from harness.records import (
    SPLITS,
    ComponentRef,
    DataNote,
    Evaluation,
    Leak,
    Outcome,
    Place,
    Predictions,
    Run,
    Split,
    digest,
)

_REST = "other"
"""The phase of everything outside the other phases."""


class Executed(NamedTuple):
    """The results of a run."""

    outcome: Outcome
    predictions: dict[tuple[int, int], Predictions]
    """By (moment, problem)."""


def execute(
    run: Run,
    catalog: Catalog,
    accelerator: accelerate.Accelerator,
    cache: Cache,
    model_folder: Path | None,
    log: Callable[[dict[str, Any]], None],
    *,
    place: Place = Place(),  # noqa: B008 - Place is frozen
    checkpoints: Checkpoints | None = None,
) -> Executed:
    """Compute a run.

    Args:
        run: The run's record.
        catalog: Source of its components.
        accelerator: Its device and processes.
        cache: Cache of data, tokens and features, shared with other runs.
        model_folder: Target folder of the tuned model, with one subfolder per stage if there are several; None to not write it.
        log: Receives progress events.
        place: This process's share of the run, and the run's share of the machine.
        checkpoints: Where an interrupted attempt may have left its state; None for a run that is computed in one go.
    """
    started, clock = datetime.now(UTC), time.perf_counter()
    phases: list[str] = []

    def enter(phase: str) -> None:
        phases[:] = [phase]
        if phase != _REST:
            log({"phase": phase})

    def told(event: dict[str, Any]) -> None:
        energy.follow()
        log({"phase": phases[0], **event})

    energy = open_energy(accelerator.device, first=accelerator.is_main_process, alone=place.side_by_side == 1)
    meter = Meter(accelerator.device, enter, energy)
    with meter.phase(_REST):
        session = open_session(run, catalog, accelerator, cache, meter, told)
        session.clock, session.shard = clock, place.shard
        if checkpoints is not None:
            session.checkpoints = checkpoints
            checkpoints.about = digest([run.id, versions(), _plugins(run, catalog), session.arithmetic, session.fast])
        scorer = _Scorer(session, Features(session))
        stages = _tune(session, scorer, catalog, model_folder)
        tuned, last = scorer.tuned[-1], stages[-1]
        if last.ship_bytes is None:
            last.ship(tuned)
        if model_folder is not None and session.rank == 0:
            with meter.phase("save"):
                deliver(session, scorer.features, scorer.tuned, catalog, model_folder)
        validation = _validation(stages, scorer.tuned) if run.trial else None
        inference = None if run.trial else measure_inference(session, tuned, last.apart)
        model = session.heads.models[len(run.stages) - 1] or session.heads.body
        trained = last.trained(tuned)
        notes = _data_notes(session)
    wall_seconds = time.perf_counter() - session.clock
    outcome = Outcome(
        run_id=run.id,
        started=started,
        phases=merge_phases(gather_object([meter.phases()])),
        wall_seconds=wall_seconds,
        shared=session.shared,
        parameters_total=sum(parameter.numel() for parameter in model.parameters()),
        parameters_trained=trained,
        # Adapters build on one another, so all stages count; for whole models only the last one.
        ship_bytes=sum(stage.ship_bytes or 0 for stage in stages),
        steps=session.steps,
        examples=session.examples,
        evaluations=scorer.evaluations(),
        data=notes,
        device=describe_device(accelerator.device),
        processes=session.processes,
        sharded=session.sharded,
        host=platform.node() or None,
        restarts=session.restarts,
        versions=versions(),
        plugins=_plugins(run, catalog),
        notes=tuple(dict.fromkeys([*session.notes, *taken_plainly()])),
        validation=validation,
        energy=energy.about,
        inference=inference,
    )
    return Executed(outcome, scorer.predictions)


def open_session(
    run: Run,
    catalog: Catalog,
    accelerator: accelerate.Accelerator,
    cache: Cache,
    meter: Meter,
    log: Callable[[dict[str, Any]], None],
) -> Session:
    """Read the data and load the model; the seed determines the weights of new heads."""
    with meter.phase("tokenise"):
        model = catalog.restore(Model, run.model)
        tokenizer = model.tokenizer()
        tokenizer_key = digest(run.model.model_dump(mode="json", exclude={"location"}))
        tokens = []
        strategy = catalog.restore(Strategy, run.strategy)
        chooses = strategy.uses_validation() or run.train.patience is not None
        for position, problem in enumerate(run.task_data):
            task = catalog.restore(Task, problem.task)
            prepared = prepare(catalog.restore(Dataset, problem.dataset), problem.dataset, cache, _seed(run))
            if position < len(run.stages) and (added := _trained_on(run, chooses=chooses)) != ("train",):
                prepared = with_train_of(prepared, added)
            check_problem(problem, task, prepared)
            clock = functools.partial(meter.phase, "tokenise")
            tokens.append(Tokens(prepared, task, tokenizer, tokenizer_key, run.train.max_length, cache, clock))
    with meter.phase("load"):
        accelerate.utils.set_seed(run.seed)
        loader = RunLoader(model, run.train, tokenizer.pad_token_id, strategy)
        facts = [item.prepared.facts for item in tokens]
        heads = build_heads(loader, [item.task for item in tokens], facts, accelerator.device)
        published = body_digest(heads.body, heads.made)
    notes = list(dict.fromkeys(loader.notes))
    if run.train.precision == "bf16" and not has_bf16_units(accelerator.device):
        notes.append("bf16 was emulated, as the device has no units for it: slower than fp32, and no more exact")
    return Session(run, accelerator, meter, cache, log, heads, tokens, published, notes=notes)


def _tune(session: Session, scorer: _Scorer, catalog: Catalog, model_folder: Path | None) -> list[RunStage]:
    """Tune on each stage in order; score before the first and after each, unless the run is a trial."""
    run, stages = session.run, list[RunStage]()
    strategy = catalog.restore(Strategy, run.strategy)
    if not run.trial:
        scorer.score(moment=0)
    for index, problem in enumerate(run.stages):
        metric = catalog.make(Metric, run.train.select_by or catalog.restore(Task, problem.task).metrics[0], {})
        # Adapters of several stages build on one another, so several stages are delivered as whole models.
        stage = RunStage(session, scorer.features, index, metric, model_folder if len(run.stages) == 1 else None)
        stages.append(stage)
        # Dropout masks must differ between processes and stages.
        torch.manual_seed(int(digest([run.seed, index, session.rank])[:12], 16))
        with session.meter.phase("tune"):
            tuned = strategy.tune(stage)
        scorer.learned(tuned)
        stage.conclude(tuned)
        if not run.trial:
            scorer.score(moment=index + 1)
    return stages


def _trained_on(run: Run, *, chooses: bool) -> tuple[Split, ...]:
    """Return the splits that a run is tuned on: with all data, validation stays apart if tuning makes choices by it."""
    if run.all_data:
        return ("train", "test") if chooses else SPLITS
    return ("train", "validation") if run.train.refit and not run.trial else ("train",)


def _seed(run: Run) -> int | None:
    """Return the seed that decides which rows a run is tuned on; None for all of them."""
    return None if run.all_data else run.seed


def _validation(stages: Sequence[RunStage], tuned: Sequence[nn.Module]) -> float | None:
    """Return the mean validation score of the final models over the stages; None if a stage has no score."""
    scores = [stage.validate(model) for stage, model in zip(stages, tuned, strict=True)]
    defined = [score for score in scores if score is not None]
    return float(np.mean(defined)) if len(defined) == len(scores) else None


class _Scorer:
    """Collects the predictions of the score matrix, moment by moment."""

    def __init__(self, session: Session, features: Features) -> None:
        self.features = features
        self.predictions: dict[tuple[int, int], Predictions] = {}
        self._session = session
        self.tuned: list[nn.Module] = []
        self._undefined: dict[tuple[int, int], str] = {
            (0, problem): reason for problem, reason in session.heads.undefined.items()
        }

    def learned(self, tuned: nn.Module) -> None:
        """Add the tuned model of the next stage."""
        self.tuned.append(tuned)
        self.features.look()

    def score(self, moment: int) -> None:
        """Compute all predictions possible at this moment."""
        run, heads = self._session.run, self._session.heads
        for problem, tokens in enumerate(self._session.tokens):
            stage = problem < len(run.stages)
            if stage and problem >= len(self.tuned) and not tokens.task.watchable:
                continue  # Its head is untrained before its own stage.
            if problem in heads.undefined:
                self._undefined[moment, problem] = heads.undefined[problem]
                continue
            model = self.tuned[problem] if problem < len(self.tuned) and stage else heads.models[problem]
            with self._session.meter.phase("test" if stage else "watch"):
                try:
                    found = self._predict(moment, problem, model)
                    self.predictions[moment, problem] = replace(found, groups=tokens.groups(found.ids))
                except UndefinedError as error:
                    self._undefined[moment, problem] = str(error)

    def evaluations(self) -> tuple[Evaluation, ...]:
        """Return the cells of the score matrix, and the reason for each undefined one."""
        defined = [Evaluation(moment=m, problem=p, items=len(found.ids)) for (m, p), found in self.predictions.items()]
        undefined = [Evaluation(moment=m, problem=p, undefined=why) for (m, p), why in self._undefined.items()]
        return (*defined, *undefined)

    def _predict(self, moment: int, problem: int, model: nn.Module | None) -> Predictions:
        tokens = self._session.tokens[problem]
        before = self.predictions.get((0, problem))
        if moment > 0:
            return tokens.task.evaluate(DataView(self._session, self.features, problem, model, before))
        # Before tuning, the predictions are the same for all runs of this model: computed once, shared by all arms and seeds.
        cache = self._session.cache
        key = [self._session.published, tokens.key("test"), self._session.arithmetic]
        if self._session.agree(cache.find("base", key) is not None):
            with np.load(cache.place("base", key) / "predictions.npz", allow_pickle=False) as kept:
                return Predictions(kept["outputs"], kept["targets"], kept["ids"])
        made = tokens.task.evaluate(DataView(self._session, self.features, problem, model, None))

        def build(folder: Path) -> None:
            np.savez(folder / "predictions.npz", outputs=made.outputs, targets=made.targets, ids=made.ids)

        if self._session.rank == 0:
            cache.make("base", key, build)
        return made


def _data_notes(session: Session) -> tuple[DataNote, ...]:
    """Return how each dataset was prepared, and which test texts also occur elsewhere."""
    run, prepared = session.run, [tokens.prepared for tokens in session.tokens]
    leaks: Sequence[tuple[Leak, ...] | None] = (
        [None] * len(prepared)  # all test texts are in the training data
        if run.all_data
        else find_leaks(prepared, len(run.stages), session.cache)
    )
    return tuple(
        _data_note(tokens, problem.dataset.name, found)
        for tokens, problem, found in zip(session.tokens, run.task_data, leaks, strict=True)
    )


def _data_note(tokens: Tokens, name: str, leaks: tuple[Leak, ...] | None) -> DataNote:
    facts = tokens.prepared.facts
    return DataNote(
        dataset=name,
        splits=tokens.notes(),
        classes=None if facts.classes is None else len(facts.classes),
        counts=split_counts(tokens.prepared),
        left_out=dict(facts.left_out),
        warnings=facts.warnings,
        moved=tokens.prepared.moved,
        leaks=leaks,
        licence=facts.licence,
        notes=facts.notes,
    )


def _plugins(run: Run, catalog: Catalog) -> dict[str, str]:
    """Return the distribution and version of each plugin used by the run, by component."""
    references: list[tuple[type[Component], ComponentRef]] = [(Model, run.model), (Strategy, run.strategy)]
    references += [(Dataset, problem.dataset) for problem in run.task_data]
    references += [(Task, problem.task) for problem in run.task_data]
    return {
        reference.name: catalog.offer(catalog.restore(kind, reference)).distribution for kind, reference in references
    }
