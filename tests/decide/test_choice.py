import pytest

from harness.decide.choice import SCORE, Criterion, Limit


@pytest.mark.parametrize("bound", [0.0413, 0.29, 7.0, 1234.5, 15_751_608_009, -0.0777])
def test_a_loosened_bound_lets_its_value_pass(bound):
    for criterion in (Criterion(SCORE, "accuracy", "higher"), Criterion("forgetting", "forgetting")):
        loosened = Limit(criterion, 0, "--max ").loosened_to(bound).bound
        assert criterion.sign * loosened >= criterion.sign * bound - 1e-9 * abs(bound)
        assert loosened == pytest.approx(bound, rel=0.01)
