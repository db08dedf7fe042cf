import pytest

from harness.analysis.endings import ending


def epochs(*scores: float | None, stage: int = 0) -> list[dict]:
    """Return the log of a training with these validation scores after its epochs, and a step between each two."""
    return [
        event
        for number, score in enumerate(scores, 1)
        for event in (
            {"step": number, "loss": 1.0},
            {"stage": stage, "step": number, "epoch": number, "validation": score},
        )
    ]


@pytest.mark.parametrize(
    ("log", "found"),
    [
        (epochs(0.5, 0.6, 0.7), "last epoch"),
        (epochs(0.5, 0.7, 0.7), None),
        (epochs(0.5, 0.8, 0.7), None),
        (epochs(0.5), None),
        (epochs(None, None), None),
        ([], None),
        ([{"stage": 0, "validation": 0.8}], None),
        (epochs(0.7, 0.7) + epochs(0.5, 0.6, stage=1), "last epoch"),
        ([*epochs(0.5, 0.6, 0.7), {"stage": 0, "ended": "flat", "best_step": 3}], None),
        ([*epochs(0.5, 0.7, 0.7), {"stage": 0, "ended": "maximum", "best_step": 2}], "maximum of steps"),
    ],
    ids=["rising", "level", "falling", "one", "none", "baseline", "no epochs", "second stage", "flat", "maximum"],
)
def test_training_ended_early_if_its_last_validation_is_the_best(log, found):
    assert ending(log).early == found


def test_the_steps_to_the_best_weights_are_those_of_every_stage():
    log = [*epochs(0.7, 0.7), {"stage": 0, "ended": "flat", "best_step": 1}]
    log += [*epochs(0.5, 0.6, stage=1), {"stage": 1, "ended": "flat", "best_step": 2}]
    assert ending(log).best_steps == (1, 2)
    assert ending(epochs(0.7, 0.8)).best_steps == ()
