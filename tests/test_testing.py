"""The kit catches strategies that do not keep the contract."""

import os
from typing import Any

import pytest

import harness
from harness.catalog import load_catalog
from harness.testing import DeliveryWarning, check_metric, check_strategy


class HeadOnly(harness.Strategy):
    """Trains the head alone."""

    name = "head-only"
    defaults = {"learning_rate": 1e-3}

    def tune(self, stage: harness.Stage) -> Any:
        stage.body.requires_grad_(False)
        return stage.fit(stage.model)


class Random(HeadOnly):
    """Draws numbers that no seed decides."""

    name = "random"

    def tune(self, stage: harness.Stage) -> Any:
        import torch

        model = super().tune(stage)
        with torch.no_grad():
            next(stage.head.parameters()).add_(os.urandom(1)[0] / 100 + 0.01)
        return model


class NotANumber(HeadOnly):
    """Ends with weights that are not numbers."""

    name = "not-a-number"

    def tune(self, stage: harness.Stage) -> Any:
        import torch

        model = super().tune(stage)
        with torch.no_grad():
            next(stage.head.parameters()).fill_(float("nan"))
        return model


class WrongDefaults(HeadOnly):
    """Wants a setting that there is not."""

    name = "wrong-defaults"
    defaults = {"learning_speed": 1e-3}


class Silent(HeadOnly):
    name = "silent"


Silent.__doc__ = None


class Whole(HeadOnly):
    """Trains the head alone, and says so."""

    name = "head-shipped"

    def tune(self, stage):
        tuned = super().tune(stage)
        stage.ship(stage.head)
        return tuned


class Hooked(Whole):
    """Answers by something that is in no file."""

    name = "hooked"

    def tune(self, stage):
        tuned = super().tune(stage)
        tuned.register_forward_hook(reversed_scores)
        return tuned


class Wrapped(Whole):
    """Answers by a module that no library knows."""

    name = "wrapped"

    def tune(self, stage):
        from torch import nn

        class Around(nn.Module):
            def __init__(self, model):
                super().__init__()
                self.model = model

            def forward(self, **batch):
                return self.model(**batch)

        return Around(super().tune(stage))


def reversed_scores(module, arguments, output):
    output.logits = output.logits.flip(1)
    return output


@pytest.mark.slow
def test_a_good_strategy_passes():
    check_strategy(Whole())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        (HeadOnly, "trains .* parameters, but its saved size is .* bytes"),
        (Wrapped, "cannot be used outside harness: the model class is Around, which no public library can load"),
    ],
)
def test_what_is_delivered_for_little_use_is_warned_of(strategy, message):
    with pytest.warns(DeliveryWarning, match=message):
        check_strategy(strategy())


@pytest.mark.slow
def test_a_strategy_whose_files_answer_otherwise_is_caught():
    with pytest.raises(AssertionError, match=r"hooked: the delivered model and the tuned model disagree on .* items"):
        check_strategy(Hooked())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        (Random, "random: two identical runs give different predictions"),
        (NotANumber, "not-a-number: predictions contain nan or infinity"),
    ],
)
def test_a_faulty_strategy_is_caught(strategy, message):
    with pytest.raises(AssertionError, match=message):
        check_strategy(strategy())


@pytest.mark.parametrize(
    ("strategy", "message"),
    [(WrongDefaults, "defaults are not valid training settings"), (Silent, "has no docstring")],
)
def test_a_strategy_that_cannot_be_shown_or_set_is_caught(strategy, message):
    with pytest.raises(AssertionError, match=message):
        check_strategy(strategy())


def test_a_metric_with_another_value_than_expected_is_caught():
    import numpy as np

    accuracy = load_catalog().make(harness.Metric, "accuracy", {})
    with pytest.raises(AssertionError, match=r"accuracy: the score is 0\.5, not 0\.7"):
        check_metric(accuracy, np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0, 1]), 0.7)
