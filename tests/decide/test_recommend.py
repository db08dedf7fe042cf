"""Hand-made comparisons whose answer is known, and one that the world has published."""

import csv
import dataclasses
import itertools
import random
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from harness.decide.advice import Recommendation, advise, pareto_probability
from harness.decide.choice import SCORE, Candidate, Criterion, Draws, Limit
from harness.errors import HarnessError

B = 1000
ACCURACY = Criterion(SCORE, "accuracy", "higher", "{:.3f}".format)
LOST = Criterion("forgetting", "forgetting", write="{:+.3f}".format)
TIME = Criterion("time", "tuning time", write="{:g} s".format)
MEMORY = Criterion("memory", "memory", write="{:g} GB".format)
CRITERIA = (ACCURACY, LOST, TIME, MEMORY)


def arm(
    label: str, role: str = "contender", *, spread: float = 0.0, seed: int = 0, **values: float | None
) -> Candidate:
    """Return an arm by its values; its score and forgetting have a spread, the same whenever the seed is."""
    points = {key: value for key, value in values.items() if value is not None}
    noise = np.random.default_rng(seed).normal(0, spread, B) if spread else np.zeros(B)
    draws = {key: value + noise * (key in {SCORE, "forgetting"}) for key, value in points.items()}
    return Candidate(label, role, points, draws)


def at_least(bound: float, *, relative: bool = False) -> Limit:
    return Limit(ACCURACY, bound, "--min-score ", ("{:g}x" if relative else "{:g}").format, relative=relative)


def at_most(criterion: Criterion, bound: float) -> Limit:
    return Limit(criterion, bound, f"--max-{criterion.key} ", "{:g}".format)


UNTUNED = arm("untuned", "baseline", score=0.5, forgetting=0.0, time=0.01, memory=1)
FULL = arm("full", "reference", score=0.90, forgetting=0.10, time=100, memory=16)
LORA = arm("lora", score=0.89, forgetting=0.04, time=60, memory=8)
FROZEN = arm("frozen", score=0.80, forgetting=0.0, time=10, memory=2)
ARMS = (UNTUNED, FULL, LORA, FROZEN)


def verdicts(found: Recommendation) -> dict[str, str]:
    return {judged.label: judged.verdict for judged in found.arms}


def why(found: Recommendation, label: str) -> str:
    return next(judged.why for judged in found.arms if judged.label == label)


def test_of_those_that_keep_to_the_limits_the_cheapest_is_taken_and_the_next_is_the_runner_up():
    found = advise(ARMS, CRITERIA, [at_least(0.85)], prefer="time")
    assert (found.choice, found.runner_up) == ("lora", "full")
    assert found.reasons[0] == (
        "Use lora: it meets all constraints with a probability of 100 %, and of the 2 strategies that do, it has the "
        "lowest tuning time: 60 s."
    )
    assert verdicts(found) == {"untuned": "excluded", "full": "runner-up", "lora": "choice", "frozen": "excluded"}
    assert why(found, "frozen") == "accuracy of 0.800 misses --min-score 0.85"


def test_what_it_takes_to_change_the_choice_is_computed():
    found = advise(ARMS, CRITERIA, [at_least(0.85)], prefer="time")
    assert found.changes == (
        "frozen would be chosen with --min-score 0.8 instead of 0.85.",
        "frozen would be chosen if its accuracy were 0.050 higher (0.800 now).",
        "full would be chosen if its tuning time were below 60 s (100 s now).",
    )
    assert advise(ARMS, CRITERIA, [at_least(0.80)], prefer="time").choice == "frozen"
    assert advise(ARMS, CRITERIA, [at_least(0.801)], prefer="time").choice == "lora"


@pytest.mark.parametrize(
    ("prefer", "choice"), [(SCORE, "full"), ("time", "frozen"), ("forgetting", "frozen"), ("memory", "frozen")]
)
def test_the_preference_decides_among_those_that_keep_to_the_limits(prefer, choice):
    assert advise(ARMS, CRITERIA, [at_least(0.7)], prefer=prefer).choice == choice


def test_without_a_limit_on_the_score_what_is_worse_by_more_than_a_standard_error_is_not_taken_however_cheap():
    found = advise(ARMS, CRITERIA, prefer="time")
    assert found.choice == "full"
    assert why(found, "frozen") == "scores worse than full by 0.100"
    noisy = [UNTUNED, arm("full", "reference", spread=0.02, seed=1, score=0.90, time=100),
             arm("lora", spread=0.02, seed=2, score=0.89, time=60), arm("frozen", spread=0.02, seed=3, score=0.6, time=10)]  # fmt: skip
    found = advise(noisy, (ACCURACY, TIME), prefer="time")
    assert found.choice == "lora"
    assert (
        "full, 0.900, better by 0.010, within one standard error (0.028); worse by more than that with a probability of "
        in found.reasons[1]
    )
    assert "by 0.300, more than one standard error (0.027)" in why(found, "frozen")


def test_a_margin_says_how_much_worse_than_the_best_is_good_enough():
    found = advise(ARMS, CRITERIA, prefer="time", margin=0.02)
    assert found.choice == "lora"
    assert "better by 0.010, within the margin of 0.02" in found.reasons[1]
    assert advise(ARMS, CRITERIA, prefer="time", margin=0.1).choice == "frozen"
    assert advise(ARMS, CRITERIA, prefer="time", margin=0.005).choice == "full"


def test_the_gain_that_would_make_an_arm_the_choice_is_just_enough():
    full = arm("full", "reference", spread=0.02, seed=1, score=0.90, time=100)
    frozen = arm("frozen", spread=0.02, seed=3, score=0.80, time=10)
    found = advise([UNTUNED, full, frozen], (ACCURACY, TIME), prefer="time")
    assert found.choice == "full"
    (sentence,) = (line for line in found.changes if "accuracy" in line)
    gain = float(sentence.split("were ")[1].split()[0])
    for by, choice in ((gain, "frozen"), (gain - 0.002, "full")):
        better = Candidate("frozen", "contender", {**frozen.points, SCORE: 0.80 + by}, {**frozen.draws, SCORE: frozen.draws[SCORE] + by})  # fmt: skip
        assert advise([UNTUNED, full, better], (ACCURACY, TIME), prefer="time").choice == choice


def test_a_share_of_the_reference_is_met_resample_by_resample():
    # The same noise in both: the share hardly moves, though each score does.
    full = arm("full", "reference", spread=0.05, seed=1, score=0.90, time=100)
    lora = arm("lora", spread=0.05, seed=1, score=0.89, time=60)
    found = advise(
        [UNTUNED, full, lora], (ACCURACY, TIME), [at_least(0.98, relative=True)], reference="full", prefer="time"
    )
    meets = {judged.label: judged.meets for judged in found.arms}
    assert meets["lora"] == {"--min-score 0.98x": 1.0}
    independent = arm("lora", spread=0.05, seed=2, score=0.89, time=60)
    found = advise(
        [UNTUNED, full, independent], (ACCURACY, TIME), [at_least(0.98, relative=True)], reference="full", prefer="time"
    )
    assert 0.4 < next(judged.meets_all for judged in found.arms if judged.label == "lora") < 0.7


def test_limits_must_be_met_at_once_with_the_confidence_that_is_asked():
    half = np.arange(B) < 0.6 * B
    low, high = np.where(half, 0.9, 0.7), np.where(np.roll(half, B // 2), 0.05, 0.0)
    one = Candidate("one", "contender", {SCORE: 0.82, "forgetting": 0.02}, {SCORE: low, "forgetting": high})
    limits = [at_least(0.8), at_most(LOST, 0.02)]
    judged = advise([UNTUNED, one], (ACCURACY, LOST), limits, prefer=SCORE).arms[1]
    assert judged.meets == {"--min-score 0.8": pytest.approx(0.6), "--max-forgetting 0.02": pytest.approx(0.4)}
    assert judged.meets_all == pytest.approx(float(np.mean((low >= 0.8) & (high <= 0.02))))
    assert judged.meets_all != pytest.approx(0.24)
    assert advise([UNTUNED, one], (ACCURACY, LOST), limits, prefer=SCORE).choice is None
    assert advise([UNTUNED, one], (ACCURACY, LOST), limits, prefer=SCORE, confidence=0.3).choice == "one"


def test_constraints_that_nobody_meets_are_named_with_the_nearest_and_how_far_it_is():
    found = advise(ARMS, CRITERIA, [at_least(0.85), at_most(LOST, 0.02), at_most(MEMORY, 10)], prefer="time")
    assert (found.choice, found.runner_up) == (None, None)
    assert found.reasons == (
        "No recommendation: no strategy that learned anything meets all constraints with a probability of 95 %.",
        "--min-score 0.85 is met by full, lora.",
        "--max-forgetting 0.02 is met by frozen.",
        "--max-memory 10 is met by lora, frozen.",
    )
    assert found.changes == (
        "frozen would be chosen with --min-score 0.8 instead of 0.85.",
        "lora would be chosen with --max-forgetting 0.04 instead of 0.02.",
    )


def test_a_limit_that_nobody_meets_by_itself_says_who_is_nearest():
    found = advise(ARMS, CRITERIA, [at_most(MEMORY, 1)], prefer="time")
    assert found.reasons[1] == (
        "No strategy meets --max-memory 1; the nearest is frozen, whose memory of 2 GB misses --max-memory 1."
    )
    assert found.changes == ("frozen would be chosen with --max-memory 2 instead of 1.",)


def test_where_no_single_limit_is_in_the_way_the_nearest_arm_says_all_it_would_need():
    found = advise(ARMS, CRITERIA, [at_least(0.95), at_most(MEMORY, 1)], prefer="time")
    (sentence,) = found.changes
    assert sentence == (
        "Loosening a single limit is not enough; the nearest is frozen, which would need --min-score 0.8 (not 0.95) "
        "and --max-memory 2 (not 1)."
    )


def test_arms_that_tie_are_told_apart_by_their_score_and_equal_arms_by_their_order():
    one, two = (arm(label, score=score, time=10) for label, score in (("one", 0.80), ("two", 0.81)))
    found = advise([UNTUNED, one, two], (ACCURACY, TIME), [at_least(0.7)], prefer="time")
    assert (found.choice, found.runner_up) == ("two", "one")
    assert why(found, "one") == "same tuning time, lower score"
    equal = [UNTUNED, arm("a", score=0.8, time=10), arm("b", score=0.8, time=10)]
    assert advise(equal, (ACCURACY, TIME), prefer="time").choice == "a"
    slower = [UNTUNED, arm("a", score=0.1 + 0.7, time=20), arm("b", score=0.8 - 1e-12, time=10)]
    found = advise(slower, (ACCURACY, TIME), prefer="time", margin=0.01)
    assert found.choice == "b"
    assert not any("better by" in sentence for sentence in found.reasons)


def test_what_is_not_known_is_never_a_number_and_cannot_be_shown_to_keep_a_limit():
    unknown = arm("unknown", score=0.95, forgetting=0.0, time=1, memory=None)
    found = advise([*ARMS, unknown], CRITERIA, [at_least(0.7), at_most(MEMORY, 20)], prefer="time")
    judged = found.arms[-1]
    assert found.choice == "frozen"
    assert (judged.meets["--max-memory 20"], judged.meets_all, judged.front) == (None, None, None)
    assert "memory" not in judged.values
    assert judged.why == "its memory is not known, so --max-memory 20 cannot be checked"


def test_an_arm_without_a_score_is_left_out_and_says_so():
    found = advise([*ARMS, Candidate("later", "contender", {}, {})], CRITERIA, prefer="time")
    assert found.choice == "full"
    assert why(found, "later") == "no score yet"
    with pytest.raises(HarnessError, match="no strategy has a score yet"):
        advise([Candidate("later", "contender", {}, {})], CRITERIA)


def test_what_is_not_better_than_the_floor_has_learned_nothing_and_does_not_count_for_the_front():
    lazy = arm("lazy", spread=0.02, score=0.51, forgetting=0.0, time=1, memory=1)
    found = advise([*ARMS, lazy], CRITERIA, prefer="time", confidence=0.5)
    assert found.choice == "full"
    judged = found.arms[-1]
    assert not judged.learned
    assert judged.why.startswith("learned nothing: better than untuned's only with a probability of 6")
    assert judged.front is None
    # Had it counted, frozen would be beaten in memory and time but not in score.
    assert next(each.front for each in found.arms if each.label == "frozen") == 1.0


def test_a_floor_may_be_given_as_a_number():
    arms = [FULL, arm("lazy", score=0.61, time=1), FROZEN]
    assert not advise(arms, CRITERIA, [at_least(0.6)], prefer="time", baseline=0.62).arms[1].learned
    assert advise(arms, CRITERIA, [at_least(0.6)], prefer="time", baseline=0.60).choice == "lazy"


def test_without_a_floor_less_than_half_of_the_best_is_nothing_and_the_note_says_that_chance_is_unknown():
    found = advise([FULL, FROZEN, arm("lazy", score=0.44, time=1)], CRITERIA, prefer="time")
    assert not found.arms[2].learned
    assert "the chance level is unknown" in found.notes[0]
    assert "--baseline" in found.notes[0]


def test_where_nobody_learned_nothing_is_taken():
    found = advise([UNTUNED, arm("full", "reference", score=0.5, time=100)], (ACCURACY, TIME), prefer="time")
    assert found.choice is None
    assert found.reasons == ("No recommendation: no strategy learned anything.",)


def test_a_score_where_lower_is_better_is_read_the_other_way_round():
    loss = Criterion(SCORE, "loss", "lower", "{:.3f}".format)
    limit = Limit(loss, 2.1, "--min-score ", "{:g}".format)
    arms = [arm("untuned", "baseline", score=4.0, time=0), arm("full", "reference", score=2.0, time=100), arm("frozen", score=2.5, time=10)]  # fmt: skip
    found = advise(arms, (loss, TIME), [limit], prefer="time")
    assert found.choice == "full"
    assert found.changes[:2] == (
        "frozen would be chosen with --min-score 2.5 instead of 2.1.",
        "frozen would be chosen if its loss were 0.400 lower (2.500 now).",
    )


def test_a_share_of_a_reference_that_is_missing_or_not_positive_is_one_line():
    with pytest.raises(HarnessError) as error:
        advise([UNTUNED, FROZEN], CRITERIA, [at_least(0.98, relative=True)])
    assert str(error.value) == (
        "--min-score 0.98x is relative to the reference's accuracy, which is not known: give an absolute value, or name "
        "another strategy with --reference"
    )
    with pytest.raises(HarnessError, match=r"which is -0\.100: give an absolute value"):
        advise(
            [arm("full", "reference", score=-0.1), FROZEN], CRITERIA, [at_least(0.98, relative=True)], reference="full"
        )


def test_the_front_holds_what_no_other_arm_beats_in_everything():
    dominated = arm("dominated", score=0.79, forgetting=0.01, time=11, memory=3)
    twin = arm("twin", score=0.80, forgetting=0.0, time=10, memory=2)
    assert pareto_probability([FULL, LORA, FROZEN, dominated, twin], CRITERIA) == {
        "full": 1.0, "lora": 1.0, "frozen": 1.0, "dominated": 0.0, "twin": 1.0,
    }  # fmt: skip


def test_the_probability_of_the_front_is_that_of_being_ahead():
    one, two = (arm(label, spread=0.1, seed=seed, score=score, time=10) for label, seed, score in (("one", 1, 0.8), ("two", 2, 0.9)))  # fmt: skip
    found = pareto_probability([one, two], (ACCURACY, TIME))
    ahead = float(np.mean(one.draws[SCORE] > two.draws[SCORE]))
    assert found == {"one": pytest.approx(ahead), "two": pytest.approx(1 - ahead)}
    # Two independent normals a tenth apart, each with a deviation of a tenth: Phi(-1 / sqrt(2)) = 0.240.
    assert ahead == pytest.approx(0.240, abs=0.04)


ITEMS = 1319
REFERENCE = "full-finetuning--lr_0.00001"
TEMPTING = {"unilora--default", "tinylora--default"}
"""0.15 % and 1.2 % right; the first forgets least of all, the second needs nearly the least memory."""
LEARNED_NOTHING = TEMPTING | {"fourierft--default", "ln_tuning--default", "tinylora--weight-tying"}
"""And none, none and 0.45 % right."""


@pytest.fixture(scope="module")
def published() -> list[Candidate]:
    """The published arms, each score with the binomial uncertainty of its test items."""
    lines = (Path(__file__).parent / "peft_metamathqa.csv").read_text(encoding="utf-8").splitlines()
    rng = np.random.default_rng(0)
    arms = []
    for row in csv.DictReader(line for line in lines if not line.startswith("#")):
        points = {
            SCORE: float(row["accuracy"]),
            "forgetting": float(row["forgetting"]),
            "time": float(row["seconds"]),
            "memory": float(row["memory_bytes"]) / 1e9,
        }
        draws: Mapping[str, Draws] = {
            **{key: np.full(300, value) for key, value in points.items()},
            SCORE: rng.binomial(ITEMS, points[SCORE], 300) / ITEMS,
        }
        role = "reference" if row["method"] == REFERENCE else "contender"
        arms.append(Candidate(row["method"], role, points, draws))
    return arms


def test_the_published_table_has_points_that_look_best_by_learning_nothing(published):
    assert len(published) == 65
    least = {key: min(published, key=lambda arm: arm.points[key]).label for key in ("forgetting", "memory")}
    assert least == {"forgetting": "unilora--default", "memory": "tinylora--weight-tying"}
    for criterion in (LOST, MEMORY):
        everyone = pareto_probability(published, (ACCURACY, criterion))
        assert any(everyone[label] > 0.9 for label in TEMPTING)


def test_what_learned_nothing_is_never_recommended_whatever_is_asked(published):
    scores = [
        None,
        at_least(0.0),
        at_least(0.001),
        at_least(0.3),
        at_least(0.9, relative=True),
        at_least(1.2, relative=True),
    ]
    lost = [None, at_most(LOST, 0.0002), at_most(LOST, 0.03), at_most(LOST, 0.1)]
    memory = [None, at_most(MEMORY, 13.1), at_most(MEMORY, 15)]
    # Every set of limits, each with one of the preferences: all with all would take minutes.
    preferences = list(itertools.product((SCORE, "forgetting", "time", "memory"), (0.5, 0.8, 0.95)))
    drawn = random.Random(0)
    seen = set()
    for limits in itertools.product(scores, lost, memory):
        prefer, confidence = drawn.choice(preferences)
        given = [limit for limit in limits if limit]
        found = advise(published, CRITERIA, given, reference=REFERENCE, prefer=prefer, confidence=confidence)
        seen |= {found.choice, found.runner_up}
        assert not any(label in line for label in LEARNED_NOTHING for line in (*found.reasons, *found.changes))
        assert all(judged.front is None for judged in found.arms if judged.label in LEARNED_NOTHING)
    assert not seen & LEARNED_NOTHING
    assert len(seen) > 5


def test_the_published_table_has_an_answer(published):
    limits = [at_least(0.9, relative=True), at_most(LOST, 0.05)]
    found = advise(published, CRITERIA, limits, reference=REFERENCE, prefer="memory", confidence=0.6)
    assert found.choice == "lora--rank32"
    assert REFERENCE in {judged.label for judged in found.arms if judged.verdict != "excluded"}


def test_draws_without_a_score_are_no_gain_that_can_be_named():
    gaps = np.where(np.arange(B) % 50 == 0, np.nan, 0.0)
    lora = arm("lora", score=0.70, time=10)
    lora = Candidate("lora", "contender", lora.points, {**lora.draws, SCORE: lora.draws[SCORE] + gaps})
    found = advise([UNTUNED, arm("full", "reference", score=0.90, time=100), lora], (ACCURACY, TIME), prefer="time")
    assert found.choice == "full"
    assert not any("nan" in line or "inf" in line for line in (*found.reasons, *found.changes))


def test_a_floor_that_has_no_score_is_a_floor_all_the_same_and_the_note_says_so():
    silent = arm("untuned", "baseline", time=0.01)
    found = advise([silent, FULL, FROZEN], (ACCURACY, TIME), prefer="time")
    assert why(found, "untuned") == "the baseline: not tuned"
    assert "the baseline has no such score, so the chance level is unknown" in found.notes[0]


def test_where_no_score_is_above_0_and_chance_is_unknown_nobody_has_learned():
    arms = [arm("full", "reference", score=-0.05, time=1), arm("lora", score=-0.10, time=1)]
    found = advise(arms, (ACCURACY, TIME))
    assert found.choice is None
    assert why(found, "lora") == "learned nothing: its score of -0.100 is not above 0, like the best (-0.050)"


def test_the_luckiest_of_many_arms_must_be_surer_than_one_alone():
    arms = [arm(f"arm {number}", score=0.90 if number else 0.92, spread=0.03, seed=number + 1) for number in range(10)]
    alone = advise(arms[:1], (ACCURACY,), [at_least(0.86)], prefer=SCORE, baseline=0.5)
    among = advise(arms, (ACCURACY,), [at_least(0.86)], prefer=SCORE, baseline=0.5)
    assert (alone.choice, alone.required) == ("arm 0", 0.95)
    assert (among.choice, among.required) == (None, pytest.approx(0.995))
    assert alone.arms[0].meets_all == among.arms[0].meets_all == pytest.approx(0.977, abs=0.01)


def test_with_one_seed_there_are_no_probabilities():
    one = dataclasses.replace(arm("one", score=0.9), sampled=False)
    found = advise([one], (ACCURACY,), [at_least(0.85)], prefer=SCORE, baseline=0.5)
    assert found.choice == "one"
    assert found.reasons[0].startswith("Use one: it meets all constraints as measured")
    assert (found.arms[0].meets_all, found.arms[0].front) == (None, None)
    assert not any("probability" in sentence for sentence in (*found.reasons, *found.changes))
