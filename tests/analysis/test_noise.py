from typing import NamedTuple

import numpy as np
import pytest

from harness.analysis.noise import measure_noise


class Value(NamedTuple):
    value: float | None


def test_noise_is_the_range_of_identical_runs_and_the_spread_of_seeds():
    finished = {"a": [0.80, 0.84], "b": [0.70, 0.70], "c": [0.5]}
    found = measure_noise(Value, finished, {"a": [0.80, 0.81, 0.79], "b": [0.70, 0.70], "c": []})
    assert found.identical == pytest.approx(0.02)
    assert found.seeds == pytest.approx(np.sqrt((0.02**2 * 2 + 0) / 2))
    assert found.threshold == max(found.identical, found.seeds)


def test_without_repeats_or_values_there_is_no_noise_to_tell():
    assert measure_noise(Value, {"a": [0.8, 0.9]}, {"a": []}) is None
    assert measure_noise(Value, {"a": [None]}, {"a": [None, None]}) is None


def test_a_seed_that_was_run_but_once_tells_nothing_of_identical_runs():
    # Its first run failed: there is but the one made again, and other seeds are no runs of it.
    assert measure_noise(Value, {"a": [0.6]}, {"a": [0.8]}) is None
