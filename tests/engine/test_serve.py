import pytest
import torch
from torch import nn

import harness
from harness.catalog import with_plugin
from harness.contracts import Strategy
from harness.engine import serve
from harness.records import TaskData
from harness.testing import ToyDataset, compute, toy_catalog, toy_run

pytestmark = pytest.mark.slow


class Beside(nn.Module):
    """A model with an adapter beside it: a shift of its scores, which merging puts into the head's bias."""

    def __init__(self, model: nn.Module, shift: float, merged_shift: float | None) -> None:
        super().__init__()
        self.model, self.shift, self.merged_shift = model, shift, merged_shift

    def forward(self, **batch: torch.Tensor):
        output = self.model(**batch)
        output.logits = output.logits + self.shift
        return output

    def merge_and_unload(self) -> nn.Module:
        if self.merged_shift is None:
            message = "this kind  of adapter\nstays"
            raise NotImplementedError(message)
        with torch.no_grad():
            self.model.classifier.bias += self.merged_shift
        return self.model


class Shifted(harness.Strategy):
    """Shift the scores."""

    name = "shifted"
    merged_shift: float | None = 1.0

    def tune(self, stage: harness.Stage) -> nn.Module:
        return Beside(stage.model, 1.0, self.merged_shift)


class Plugin:
    @harness.hookimpl
    def harness_strategies(self):
        return [Shifted]


@pytest.fixture
def outcome_of(catalog, tiny_model, tmp_path):
    """Compute a run of one stage by a strategy."""
    toys = with_plugin(toy_catalog(catalog), Plugin(), "shifted")

    def outcome(strategy, params=None, dataset=None, **train):
        run = toy_run(toys, tiny_model, toys.make(Strategy, strategy, params or {}), stages=1, **train)
        if dataset is not None:
            problem = TaskData(dataset=dataset.reference(), task=run.stages[0].task)
            run = run.model_copy(update={"stages": (problem,)})
        return compute(run, toys, tmp_path)

    return outcome


def test_a_model_is_measured_one_item_at_a_time_and_in_batches(outcome_of):
    speed = outcome_of("full", dataset=ToyDataset(rows=200)).inference.whole
    assert 0 < speed.latency_p50_ms <= speed.latency_p95_ms
    assert speed.latency_items == 30
    assert speed.batch_size == 40
    assert speed.throughput > 0


def test_too_few_items_have_no_95th_percentile(outcome_of):
    speed = outcome_of("untuned").inference.whole
    assert (speed.latency_items, speed.latency_p95_ms) == (12, None)


@pytest.mark.parametrize("strategy", ["lora", "dora", "ia3"])
def test_what_was_merged_is_measured_with_its_adapters_apart_too(outcome_of, strategy):
    found = outcome_of(strategy).inference
    assert found.whole is not None
    assert found.apart is not None


def test_what_has_no_adapters_has_none_apart(outcome_of):
    assert outcome_of("full").inference.apart is None


def test_adapters_that_stay_are_merged_in_a_copy_and_what_was_scored_stays_as_it_was(outcome_of):
    found = outcome_of("shifted").inference
    assert found.whole is not None
    assert found.apart is not None


def test_a_merged_copy_that_answers_otherwise_is_not_measured(outcome_of):
    found = outcome_of("shifted", {"merged_shift": 3.0}).inference
    assert found.apart is not None
    assert (found.whole, found.undefined) == (None, "merging the adapters changes its predictions")


def test_adapters_that_cannot_be_merged_say_why(outcome_of):
    found = outcome_of("shifted", {"merged_shift": None}).inference
    assert found.whole is None
    assert found.undefined == "the adapters cannot be merged: this kind of adapter stays"


def test_a_head_on_kept_features_is_measured_through_the_whole_body(outcome_of, monkeypatch):
    read = []
    predict = serve.predicting

    def watching(session, *models):
        body = session.heads.body
        body.register_forward_hook(lambda *_: read.append(body))
        return predict(session, *models)

    monkeypatch.setattr(serve, "predicting", watching)
    assert outcome_of("frozen").inference.whole is not None
    # Three to warm up, twelve by themselves, and one batch of them all.
    assert len(read) == 3 + 12 + 1


def test_windows_of_one_text_are_one_item():
    items = serve.choose(torch.tensor([4, 7, 4, 9]).numpy())
    assert sorted(sorted(rows.tolist()) for rows in items) == [[0, 2], [1], [3]]


def test_measuring_ends_when_its_time_is_up():
    assert serve.within(1.0, iter([0.4, 0.4, 0.4, 0.4])) == [0.4, 0.4, 0.4]
    assert serve.within(1.0, iter([5.0, 5.0])) == [5.0]


def test_no_other_phase_has_any_of_it(outcome_of, monkeypatch):
    import time

    clock, ahead, measure = time.perf_counter, [0.0], serve.measure

    def slow(*given):
        ahead[0] += 10_000.0  # for the clock alone
        return measure(*given)

    monkeypatch.setattr(time, "perf_counter", lambda: clock() + ahead[0])
    monkeypatch.setattr(serve, "measure", slow)
    phases = outcome_of("lora").phases
    assert phases["serve"].wall_seconds >= 20_000
    assert all(phase.wall_seconds < 10_000 for name, phase in phases.items() if name != "serve")
