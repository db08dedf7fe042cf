"""Conformance checks for plugin authors, to run in the tests of a plugin.

    def test_my_strategy_keeps_the_contract():
        harness.testing.check_strategy(MyStrategy())

The checks use a model with 30 thousand random weights, toy datasets and the harness's own engine.
"""

from __future__ import annotations

from harness.testing.checks import (
    DeliveryWarning,
    check_component,
    check_dataset,
    check_executor,
    check_metric,
    check_model,
    check_observer,
    check_reporter,
    check_strategy,
    check_task,
    check_tracker,
)
from harness.testing.commands import run_command
from harness.testing.toys import (
    TinyModel,
    ToyDataset,
    compute,
    runner_here,
    toy_catalog,
    toy_run,
    write_tiny_model,
)

__all__ = [
    "DeliveryWarning",
    "TinyModel",
    "ToyDataset",
    "check_component",
    "check_dataset",
    "check_executor",
    "check_metric",
    "check_model",
    "check_observer",
    "check_reporter",
    "check_strategy",
    "check_task",
    "check_tracker",
    "compute",
    "run_command",
    "runner_here",
    "toy_catalog",
    "toy_run",
    "write_tiny_model",
]
