import numpy as np
import pytest
from scipy import stats

from harness.results.statistics import estimate


@pytest.mark.parametrize("values", [[0.8, 0.82, 0.79], [0.5, 0.9], [1.0, 2.0, 3.0, 4.0, 10.0]])
def test_the_interval_is_scipys(values):
    found = estimate(values)
    low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    assert (found.mean - found.half_width, found.mean + found.half_width) == pytest.approx((low, high))


def test_one_value_has_no_interval():
    assert estimate([0.8]) == (0.8, None, 1)


def test_equal_values_have_an_interval_of_exactly_nothing():
    assert estimate([0.1, 0.1, 0.1]).half_width == 0.0
