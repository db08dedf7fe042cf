import numpy as np
import pytest

import harness
from harness.analysis.cache import AnalysisCache
from harness.analysis.items import take_apart
from harness.analysis.scores import Scores
from harness.catalog import with_plugin
from harness.contracts import Metric, Ratio, Strategy
from harness.errors import UndefinedError
from harness.records import Predictions
from harness.store import Store
from harness.testing import compute, toy_catalog, toy_run


class Counted(Metric):
    """Counts how often it is asked."""

    name = "counted"
    title = "counted"
    asked: list[int] = []

    def score(self, outputs: np.ndarray, targets: np.ndarray) -> float:
        self.asked.append(len(targets))
        return float(np.mean(outputs))


class Never(Metric):
    """Has no value."""

    name = "never"
    title = "never"

    def score(self, outputs: np.ndarray, targets: np.ndarray) -> float:
        del outputs, targets
        message = "there is nothing to see"
        raise harness.UndefinedError(message)


class Broken(Metric):
    """Does whatever a test asks."""

    name = "broken"
    title = "broken"

    def score(self, outputs: np.ndarray, targets: np.ndarray) -> float:
        del outputs, targets
        return type(self).does()

    @staticmethod
    def does() -> object:
        return 0.5


class Plugin:
    @harness.hookimpl
    def harness_metrics(self):
        return [Counted, Never, Broken]


@pytest.fixture(scope="module")
def stored(catalog, tiny_model, tmp_path_factory):
    toys = with_plugin(toy_catalog(catalog), Plugin(), "made-up")
    results = tmp_path_factory.mktemp("scores")
    run = toy_run(toys, tiny_model, toys.make(Strategy, "untuned", {}))
    outcome = compute(run, toys, results)
    store = Store(results)

    def opened() -> tuple[Scores, AnalysisCache]:
        cache = AnalysisCache(store.cache / "analysis.sqlite")
        return Scores(store, toys, cache, run, outcome), cache

    return opened


def test_a_metric_is_computed_once_for_good(stored):
    seen = Counted().asked
    seen.clear()
    first, cache = stored()
    value = first.get("counted", 1, 0)
    cache.save()
    second, _ = stored()
    assert second.get("counted", 1, 0) == value
    assert len(seen) <= 1


def test_a_metric_whose_version_is_raised_is_computed_anew(stored, monkeypatch):
    first, cache = stored()
    first.get("counted", 2, 0)
    cache.save()
    monkeypatch.setattr(Counted, "version", 2)
    monkeypatch.setattr(Counted, "score", lambda *_: 42.0)
    assert stored()[0].get("counted", 2, 0).value == 42.0


def test_what_is_undefined_stays_so_with_its_reason(stored):
    score = stored()[0].get("never", 1, 0)
    assert (score.value, score.undefined) == (None, "there is nothing to see")


def test_a_stage_has_no_score_before_it_is_tuned_on(stored):
    assert stored()[0].get("accuracy", 1, 1).undefined == "not tuned on yet"


def test_the_matrix_has_a_row_for_every_moment_and_blanks_for_what_is_undefined(stored):
    matrix = stored()[0].matrix(["accuracy", "accuracy", "accuracy", "cka"])
    assert matrix.shape == (3, 4)
    assert np.isnan(matrix).tolist() == [[True, True, False, False], [False, True, False, False], [False] * 4]


def _raise(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        (lambda: _raise(ValueError("no\nidea")), "metric 'broken' failed: ValueError: no idea"),
        (lambda: _raise(SystemExit(3)), "metric 'broken' failed: SystemExit: 3"),
        (lambda: "good", "metric 'broken' returned 'good', which is not a finite number"),
        (lambda: float("nan"), "metric 'broken' returned nan, which is not a finite number"),
        (lambda: float("inf"), "metric 'broken' returned inf, which is not a finite number"),
        (lambda: None, "metric 'broken' returned None, which is not a finite number"),
    ],
    ids=["raises", "exits", "a string", "nan", "inf", "nothing"],
)
def test_a_metric_that_fails_is_a_blank_with_its_reason_and_is_asked_again_once_it_is_mended(
    stored, monkeypatch, does, reason
):
    monkeypatch.setattr(Broken, "does", staticmethod(does))
    scores, cache = stored()
    found = scores.get("broken", 0, 2)
    assert (found.value, found.undefined) == (None, reason)
    cache.save()
    monkeypatch.setattr(Broken, "does", staticmethod(lambda: np.float32(0.25)))
    scores, _ = stored()
    assert scores.get("broken", 0, 2).value == 0.25


@pytest.mark.parametrize("items", [np.ones((3, 1)), np.full((10, 2), np.nan), "none"])
def test_a_ratio_of_another_shape_is_a_blank_with_its_reason(items):
    class Odd(Ratio):
        """Odd."""

        name = "odd"
        title = "odd"

        def items(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
            del outputs, targets
            return items

    with pytest.raises(UndefinedError, match="metric 'odd'"):
        take_apart(Odd(), Predictions(np.ones(10), np.ones(10), np.arange(10)))
