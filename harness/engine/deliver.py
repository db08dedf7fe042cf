"""Delivery of a run's models to the writer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from torch import nn

from harness.catalog import Catalog
from harness.contracts import Model
from harness.delivery.manifest import Manifest, versions
from harness.delivery.write import Made, base_of, write
from harness.engine.evaluate import DataView
from harness.engine.features import Features
from harness.engine.session import Session


def deliver(session: Session, features: Features, tuned: Sequence[nn.Module], catalog: Catalog, folder: Path) -> None:
    """Write the final model of each stage; with several stages, each into a folder `stage-<number>`.

    Args:
        session: The run.
        features: Features of its body.
        tuned: The model of each stage.
        catalog: Catalog of its components.
        folder: Target folder.
    """
    run = session.run
    base = catalog.restore(Model, run.model)
    source, published = base.locate(), base.config()
    for index, made in enumerate(tuned):
        place = folder / f"stage-{index + 1}" if len(run.stages) > 1 else folder
        tokens, problem = session.tokens[index], run.stages[index]
        model, loaded = session.heads.models[index], session.heads.loaded[index]
        if model is None or loaded is None:
            continue
        facts = tokens.prepared.facts
        task = tokens.task.settled(DataView(session, features, index, made, None))
        described = Manifest(
            kind="none",
            base=base_of(run.model, source, place),
            task=task.reference(),
            dataset=problem.dataset.model_copy(update={"location": {}}),
            data=problem.dataset.name,
            classes=facts.classes,
            columns=dict(facts.columns),
            licence=facts.licence,
            citation=facts.citation,
            rows={name: len(rows) for name, rows in tokens.prepared.splits.items()},
            max_length=run.train.max_length,
            batch_tokens=run.train.eval_batch_tokens,
            precision=run.train.precision,
            dtype="float32",
            run=run.id,
            strategy=run.strategy,
            train=run.train,
            seed=run.seed,
            stage=index,
            all_data=run.all_data,
            versions=versions(),
        )
        generation = dict(task.generation(tokens.tokenizer))
        if "eos_token_id" in generation:
            # Also keep the model's own end tokens.
            own = model.generation_config.eos_token_id if model.generation_config else None
            ends = [generation["eos_token_id"], *([own] if isinstance(own, int) else own or [])]
            generation["eos_token_id"] = list(dict.fromkeys(cast("list[int]", ends)))
        write(place, Made(made, model, loaded, published, tokens.tokenizer, generation), described)
