"""Simulations of the statistics: how often intervals cover the truth and verdicts are false.

`python tests/analysis/simulations.py 1000` writes the tables of `docs/statistics.md`, and with `... 1000 equal_arms` only
one of them; `test_simulations.py` asserts them with fewer repetitions.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import ndtr, ndtri

from harness.analysis.items import take_apart
from harness.analysis.planning import level_of_looks, needed
from harness.analysis.statistics import Sample, difference, draw, graphical, interval
from harness.analysis.verdicts import Comparisons, judge
from harness.catalog import load_catalog
from harness.contracts import Confusion, Metric
from harness.decide.advice import advise
from harness.decide.choice import SCORE, Candidate, Criterion
from harness.records import Predictions

SHARE = (0.0, 1.0)
Right = NDArray[np.bool_]
"""Whether items are answered correctly, `[arms, seeds, items]`."""


class World(NamedTuple):
    """Where right and wrong answers come from: standard deviations of a latent score, which is right above 0."""

    name: str
    items: float = 1.0
    """How difficult an item is for every arm."""
    own: float = 0.0
    """How difficult it is for one arm, whatever the seed."""
    seeds: float = 0.0
    """How good a seed is on every item."""
    noise: float = 0.0
    """What belongs to one seed and one item."""
    level: float = 0.7
    """The mean: 0.7 is right for three of four items, 2.2 for almost all."""

    def draw(
        self, random: np.random.Generator, arms: int, seeds: int, items: int, gain: float = 0.0, wild: float = 1.0
    ) -> Right:
        """Return answers of arms that are alike, but the last one is better by `gain`, and the first's seeds vary `wild` times more."""
        latent = self.level + random.normal(0, self.items, items) + np.zeros((arms, seeds, items))
        latent += random.normal(0, 1, (arms, 1, items)) * self.own
        by_seeds = random.normal(0, 1, (arms, seeds, 1)) * self.seeds
        by_seeds[0] *= wild
        latent += by_seeds
        latent += random.normal(0, 1, (arms, seeds, items)) * self.noise
        latent[-1] += gain
        return latent > 0

    @property
    def spread(self) -> float:
        """The standard deviation of the latent score."""
        return float(np.sqrt(self.items**2 + self.own**2 + self.seeds**2 + self.noise**2))

    @property
    def truth(self) -> float:
        """The share of items that is right over all items and seeds."""
        return float(ndtr(self.level / self.spread))

    def gain(self, share: float) -> float:
        """Return the latent gain with which this share of items more is right."""
        return float(ndtri(self.truth + share)) * self.spread - self.level


WORLDS = (
    World("items only", own=0.5),
    World("noise of seed and item", noise=0.5),
    World("seeds only", seeds=0.2),
    World("all of them", own=0.4, seeds=0.15, noise=0.4),
    World("near 1, items only", own=0.5, level=2.2),
    World("near 1, all of them", own=0.4, seeds=0.15, noise=0.4, level=2.2),
)


def sample(right: NDArray[np.generic]) -> Sample:
    """Return an arm's answers `[seeds, items]` as a sample."""
    values = right.astype(np.float64)
    n = values.shape[1]
    return Sample(values.mean(1), (values - values.mean(1, keepdims=True)) / np.sqrt(n * (n - 1)), n, linear=True)


def ours(right: Right) -> float:
    """Return the p-value of the last arm against the first."""
    found = difference(sample(right[-1]), sample(right[0]), SHARE)
    assert found is not None
    return found.p


def t_over_seeds(right: Right) -> float:
    """Return that of Welch's t-test on the seeds' scores, as papers report it."""
    first, last = right[0].mean(1), right[-1].mean(1)
    if np.ptp(first) == np.ptp(last) == 0:
        return float(first[0] == last[0])
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # scores that are nearly identical
        return float(stats.ttest_ind(first, last, equal_var=False).pvalue)


class MeanSquares(NamedTuple):
    """Those of an analysis of variance with seeds (within arms) and items as crossed random effects; each with its degrees of freedom."""

    arms: tuple[float, int]
    seeds: tuple[float, int]
    arms_by_items: tuple[float, int]
    rest: tuple[float, int]


def mean_squares(right: Right) -> MeanSquares:
    """Return the mean squares of answers `[arms, seeds, items]`."""
    y = right.astype(np.float64)
    arms, seeds, items = y.shape
    mean, by_arm, by_item, by_seed, by_both = y.mean(), y.mean((1, 2)), y.mean((0, 1)), y.mean(2), y.mean(1)
    rest = y - by_seed[:, :, None] - by_both[:, None] + by_arm[:, None, None]
    squares = (
        (seeds * items * (by_arm - mean) ** 2, arms - 1),
        (items * (by_seed - by_arm[:, None]) ** 2, arms * (seeds - 1)),
        (seeds * (by_both - by_arm[:, None] - by_item + mean) ** 2, (arms - 1) * (items - 1)),
        (rest**2, arms * (seeds - 1) * (items - 1)),
    )
    return MeanSquares(*((float(part.sum()) / freedom, freedom) for part, freedom in squares))


def freedom_of_sum(*parts: tuple[float, int]) -> float:
    """Return the degrees of freedom of a sum of mean squares by Satterthwaite."""
    total = sum(square for square, _ in parts)
    return total**2 / sum(square**2 / freedom for square, freedom in parts) if total else 1.0


def crossed_anova(right: Right) -> float:
    """Return that of a crossed analysis of variance: the quasi F of Clark, 1973 (The Language-as-Fixed-Effect Fallacy)."""
    arms, seeds, both, rest = mean_squares(right[[0, -1]])
    above, below = arms[0] + rest[0], seeds[0] + both[0]
    if not below:
        return float(above == 0)
    return float(stats.f.sf(above / below, freedom_of_sum(arms, rest), freedom_of_sum(seeds, both)))


def mcnemar(right: Right) -> float:
    """Return that of McNemar's exact test on the first seed."""
    gained, lost = (int(np.sum(right[a, 0] & ~right[b, 0])) for a, b in ((-1, 0), (0, -1)))
    return float(stats.binomtest(gained, gained + lost, 0.5).pvalue) if gained + lost else 1.0


def standard_errors(right: Right) -> float:
    """Return that of independent standard errors over the items of one seed, as lm-evaluation-harness prints them."""
    first, last = right[0, 0], right[-1, 0]
    error = np.sqrt((first.var(ddof=1) + last.var(ddof=1)) / first.size)
    return (
        float(2 * stats.norm.sf(abs(last.mean() - first.mean()) / error))
        if error
        else float(first.mean() == last.mean())
    )


def resampled_runs(right: Right) -> float:
    """Return that of a normal interval over bootstrapped test sets, one for each seed, as EuroEval computes it."""
    n = right.shape[2]
    random = np.random.default_rng(0)
    runs = np.array([[arm[seed][random.integers(n, size=n)].mean() for seed in range(right.shape[1])] for arm in right])
    gap = runs[-1] - runs[0]
    error = np.sqrt((runs[-1].var(ddof=1) + runs[0].var(ddof=1)) / len(gap))
    return float(2 * stats.norm.sf(abs(gap.mean()) / error)) if error else float(gap.mean() == 0)


TESTS: dict[str, Callable[[Right], float]] = {
    "harness": ours,
    "crossed ANOVA": crossed_anova,
    "t over seeds": t_over_seeds,
    "McNemar, 1 seed": mcnemar,
    "standard errors, 1 seed": standard_errors,
    "bootstrapped runs": resampled_runs,
}


def told_apart(
    test: Callable[[Right], float], world: World, seeds: int, items: int, gain: float, times: int, key: int = 0
) -> float:
    """Return in which share of comparisons a test tells two arms apart at 5 %."""
    random = np.random.default_rng([key, seeds, items, WORLDS.index(world) if world in WORLDS else 99])
    return float(np.mean([test(world.draw(random, 2, seeds, items, gain)) <= 0.05 for _ in range(times)]))


def covered(world: World, seeds: int, items: int, times: int) -> float:
    """Return in which share the interval of an arm's score holds its true score."""
    random = np.random.default_rng([1, seeds, items])
    found = [interval(sample(world.draw(random, 1, seeds, items)[0]), SHARE) for _ in range(times)]
    return float(np.mean([one is not None and one.low <= world.truth <= one.high for one in found]))


def false_tables(world: World, columns: int, arms: int, seeds: int, items: int, times: int) -> float:
    """Return in which share of tables of equal arms there is any verdict of better or worse."""
    random = np.random.default_rng([2, columns, arms])
    false = 0
    for _ in range(times):
        table = []
        for at in range(columns):
            right = world.draw(random, arms, seeds, items)
            samples = {str(arm): sample(one) for arm, one in enumerate(right)}
            table.append(Comparisons(samples, "higher", SHARE, SHARE, at < 3, at == 0, ()))
        judged = judge(table, "0", None)
        false += any(one.verdict in {"better", "worse"} for column in judged for one in column.values())
    return false / times


def against_first(right: Right) -> list[float]:
    """Return the p-values of all arms against the first, adjusted for their number."""
    samples = {str(arm): sample(one) for arm, one in enumerate(right)}
    (column,) = judge([Comparisons(samples, "higher", SHARE, SHARE, first=True, leads=True, competing=())], "0", None)
    return [1.0 if one.p is None else one.p for label, one in column.items() if label != "0"]


def of_unlike_seeds(seeds: int, wild: float, gain: float, times: int) -> float:
    """Return in which share of tables of eight arms the last one, better by `gain`, is told apart; of equal ones, any arm.

    The seeds of the first arm, with which the others are compared, vary `wild` times more than theirs.
    """
    random, world = np.random.default_rng([9, seeds, int(10 * wild)]), World("seeds and items", own=0.3, seeds=0.1)
    shown = 0
    for _ in range(times):
        ps = against_first(world.draw(random, 8, seeds, 200, gain, wild))
        shown += (ps[-1] if gain else min(ps)) <= 0.05
    return shown / times


def crossed_anova_of_arms(right: Right) -> list[float]:
    """Return those of one crossed analysis of variance over all arms, with Holm's adjustment."""
    _, seeds, both, rest = mean_squares(right)
    error = max(seeds[0] + both[0] - rest[0], 0.0)
    scores = right.mean((1, 2))
    if not error:
        return [float(one == scores[0]) for one in scores[1:]]
    freedom = error**2 / sum(square**2 / freedom for square, freedom in (seeds, both, rest))
    ts = np.abs(scores[1:] - scores[0]) / np.sqrt(2 * error / (right.shape[1] * right.shape[2]))
    return holm([float(2 * stats.t.sf(t, freedom)) for t in ts])


def holm(ps: Sequence[float]) -> list[float]:
    """Return p-values adjusted by Holm's procedure."""
    weights = np.full(len(ps), 1 / len(ps))
    passes = (1 - np.eye(len(ps))) / (len(ps) - 1)
    return graphical(ps, weights, passes)


def best_told_apart(
    test: Callable[[Right], list[float]], world: World, seeds: int, gain: float, wild: float, times: int
) -> float:
    """Return in which share of tables of ten arms the last one, better by `gain`, is told apart; of equal ones, any arm."""
    random, shown = np.random.default_rng([10, seeds, int(10 * wild), WORLDS.index(world)]), 0
    for _ in range(times):
        ps = test(world.draw(random, 10, seeds, 200, gain, wild))
        shown += (ps[-1] if gain else min(ps)) <= 0.05
    return shown / times


def grouped(random: np.random.Generator, groups: int, size: int) -> Right:
    """Return answers of two equal arms, two seeds each, to items in groups: an arm is good or bad at whole groups."""
    latent = 0.7 + random.normal(0, 1, groups)[:, None] + random.normal(0, 0.7, (2, 1, groups, 1))
    latent = latent + random.normal(0, 0.7, (groups, size)) + random.normal(0, 0.3, (2, 2, groups, size))
    return (latent > 0).reshape(2, 2, -1)


def by_group(right: Right, groups: int) -> float:
    """Return the p-value if the items of a group are drawn together."""
    each = [sample(arm.reshape(arm.shape[0], groups, -1).mean(2)) for arm in right]
    found = difference(each[1], each[0], SHARE)
    assert found is not None
    return found.p


def covered_confusion(name: str, items: int, prior: float, times: int) -> float:
    """Return in which share the interval of a metric of a confusion matrix holds its value for all items.

    Of two classes, the first has a share of `prior`; 70 % of its items and 95 % of the other's are recognised.
    """
    metric = load_catalog().make(Metric, name, {})
    assert isinstance(metric, Confusion)
    cells = np.array([[(1 - prior) * 0.95, (1 - prior) * 0.05], [prior * 0.3, prior * 0.7]])
    truth = float(metric.of_counts(cells[None, None])[0])
    random = np.random.default_rng([3, items])
    held = []
    while len(held) < times:
        wanted, answered = np.divmod(random.choice(4, items, p=cells.ravel()), 2)
        if len(np.unique([wanted, answered])) < 2:
            continue  # one class alone: no correlation, and an F1 of 1
        one = take_apart(metric, Predictions(np.eye(2)[answered], wanted, np.arange(items)))
        alike = np.full(3, one.value), np.tile(one.deviations, (3, 1)), one.units, False, one.centre
        found = interval(Sample(*alike), metric.bounds)
        held.append(found is not None and found.low <= truth <= found.high)
    return float(np.mean(held))


def recommended(world: World, seeds: int, items: int, worse: float, times: int) -> float:
    """Return how often the cheaper of two arms is recommended if its true score is lower by `worse`."""
    random = np.random.default_rng([5, seeds, items])
    gain = world.gain(-worse)
    chosen = 0
    for _ in range(times):
        dear, cheap = world.draw(random, 2, seeds, items, gain)
        samples = {"dear": sample(dear), "cheap": sample(cheap)}
        drawn, price = draw(samples, "items", 1000), {"dear": 2.0, "cheap": 1.0}
        arms = [
            Candidate(
                label, "contender", {SCORE: one.value, "cost": price[label]},
                {SCORE: drawn[label], "cost": np.full(1000, price[label])},
            )
            for label, one in samples.items()
        ]  # fmt: skip
        found = advise(
            arms, (Criterion(SCORE, "accuracy", "higher"), Criterion("cost", "cost")), prefer="cost", baseline=0.0
        )
        chosen += found.choice == "cheap"
    return chosen / times


def found_at_any_look(world: World, looks: Sequence[int], level: float, times: int) -> float:
    """Return in which share of comparisons two equal arms are told apart at any of several numbers of seeds."""
    random = np.random.default_rng([6, *looks])
    found = 0
    for _ in range(times):
        right = world.draw(random, 2, max(looks), 200)
        found += any(ours(right[:, :seeds]) <= level for seeds in looks)
    return found / times


def predicted(world: World, seeds: int, items: int, gain: float, times: int) -> tuple[int | None, int | None]:
    """Return the median number of seeds, and of items, that pilots of this size predict."""
    random = np.random.default_rng([7, seeds, items])
    found = [
        needed(sample(right[1]), sample(right[0]), SHARE)
        for right in (world.draw(random, 2, seeds, items, gain) for _ in range(times))
    ]
    said = [one for one in found if one is not None]
    more, wider = (np.median([number or np.inf for number in numbers]) for numbers in zip(*said, strict=True))
    return int(more) if np.isfinite(more) else None, int(wider) if np.isfinite(wider) else None


def percent(share: float, times: int) -> str:
    """Return a share with its 95 % interval."""
    low, high = stats.binomtest(round(share * times), times).proportion_ci(method="wilson")
    return f"{100 * share:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def equal_arms(times: int) -> Iterator[str]:
    """Yield the table of false verdicts on two arms."""
    yield "| seeds, items | where differences come from | " + " | ".join(TESTS) + " |"
    yield "|---|---|" + "---:|" * len(TESTS)
    for seeds, items in ((2, 200), (3, 200), (5, 200), (3, 30)):
        for world in WORLDS:
            row = [percent(told_apart(test, world, seeds, items, 0.0, times), times) for test in TESTS.values()]
            yield f"| {seeds}, {items} | {world.name} | " + " | ".join(row) + " |"


def better_arms(times: int) -> Iterator[str]:
    """Yield the table of power."""
    yield "| seeds, items | where differences come from | harness | crossed ANOVA | t over seeds | McNemar, 1 seed |"
    yield "|---|---|---:|---:|---:|---:|"
    for seeds, items, gain in ((3, 200, 0.2), (5, 200, 0.2)):
        for world in WORLDS:
            fair = (ours, crossed_anova, t_over_seeds, mcnemar)
            row = [percent(told_apart(test, world, seeds, items, gain, times), times) for test in fair]
            yield f"| {seeds}, {items} | {world.name} | " + " | ".join(row) + " |"


def equal_tables(times: int) -> Iterator[str]:
    """Yield the table of false verdicts on whole tables."""
    yield "| columns | 2 arms | 4 arms | 10 arms |"
    yield "|---:|---:|---:|---:|"
    for columns in (1, 3, 5, 8):
        row = [percent(false_tables(WORLDS[3], columns, arms, 3, 200, times), times) for arms in (2, 4, 10)]
        yield f"| {columns} | " + " | ".join(row) + " |"


def unlike_arms(times: int) -> Iterator[str]:
    """Yield the table of arms whose seeds vary differently."""
    yield "| seeds | the reference's seeds vary | any of eight equal arms | one better by 0.1 |"
    yield "|---:|---|---:|---:|"
    gain = World("seeds and items", own=0.3, seeds=0.1).gain(0.1)
    for seeds in (2, 3, 5):
        for wild in (1, 2, 4, 6):
            found = [percent(of_unlike_seeds(seeds, wild, more, times), times) for more in (0.0, gain)]
            yield f"| {seeds} | {'as the others' if wild == 1 else f'{wild} times more'} | {' | '.join(found)} |"


def better_of_ten(times: int) -> Iterator[str]:
    """Yield the table of ten arms."""
    yield "| seeds | where differences come from | equal: harness | crossed ANOVA | one better: harness | crossed ANOVA |"
    yield "|---:|---|---:|---:|---:|---:|"
    for seeds in (3, 5):
        for world, wild in (*((world, 1.0) for world in WORLDS[:4]), (WORLDS[2], 4.0)):
            cells = [
                percent(best_told_apart(test, world, seeds, gain, wild, times), times)
                for gain in (0.0, 0.3)
                for test in (against_first, crossed_anova_of_arms)
            ]
            more = "" if wild == 1 else f", the reference's {wild:.0f} times more"
            yield f"| {seeds} | {world.name}{more} | {' | '.join(cells)} |"


def groups_of_items(times: int) -> Iterator[str]:
    """Yield the table of false verdicts on items that belong together."""
    yield "| groups of items | drawn by group | drawn by item |"
    yield "|---|---:|---:|"
    for groups, size in ((40, 5), (100, 5), (40, 20)):
        random = np.random.default_rng([4, groups, size])
        some = [grouped(random, groups, size) for _ in range(times)]
        together = percent(float(np.mean([by_group(one, groups) <= 0.05 for one in some])), times)
        yield f"| {groups} of {size} | {together} | {percent(float(np.mean([ours(one) <= 0.05 for one in some])), times)} |"


def intervals(times: int) -> Iterator[str]:
    """Yield the tables of coverage."""
    yield "| seeds, items | " + " | ".join(f"{world.name} ({world.truth:.3f})" for world in WORLDS) + " |"
    yield "|---|" + "---:|" * len(WORLDS)
    for seeds, items in ((2, 200), (3, 30), (3, 200), (5, 200)):
        row = [percent(covered(world, seeds, items, times), times) for world in WORLDS]
        yield f"| {seeds}, {items} | " + " | ".join(row) + " |"
    yield ""
    yield "| items, share of the rare class | macro-F1 | MCC |"
    yield "|---|---:|---:|"
    for items, prior in ((30, 0.05), (30, 0.3), (100, 0.05), (300, 0.05)):
        row = [percent(covered_confusion(name, items, prior, times), times) for name in ("macro-f1", "mcc")]
        yield f"| {items}, {prior:.0%} | " + " | ".join(row) + " |"


def cheaper_arms(times: int) -> Iterator[str]:
    """Yield the table of recommendations."""
    yield "| seeds, items | where differences come from | equally good | worse by 0.05 |"
    yield "|---|---|---:|---:|"
    for seeds, items in ((2, 300), (3, 300), (5, 300), (3, 1000)):
        for world in WORLDS[:4]:
            row = [percent(recommended(world, seeds, items, worse, times), times) for worse in (0.0, 0.05)]
            yield f"| {seeds}, {items} | {world.name} | " + " | ".join(row) + " |"


def several_looks(times: int) -> Iterator[str]:
    """Yield the table of false verdicts if seeds are added until something is shown."""
    yield "| looks at | where differences come from | planned | each look at 5 % |"
    yield "|---|---|---:|---:|"
    for looks in ((3, 5), (3, 5, 10), tuple(range(3, 11))):
        level = level_of_looks(looks)
        for world in WORLDS[:4]:
            row = [percent(found_at_any_look(world, looks, at, times), times) for at in (level, 0.05)]
            yield f"| {', '.join(map(str, looks))} seeds | {world.name} | " + " | ".join(row) + " |"


def enough(times: int) -> Iterator[str]:
    """Yield the table of predicted sizes, and how often a difference is shown with them."""
    yield "| measured with | where differences come from | predicted | shown with it | predicted | shown with it |"
    yield "|---|---|---:|---:|---:|---:|"
    for world, seeds, items, gain in PILOTS:
        more, wider = predicted(world, seeds, items, gain, times)
        cells: list[str] = []
        for number, unit, size in ((more, "seeds", (more, items)), (wider, "items", (seeds, wider))):
            shown = "" if number is None else percent(told_apart(ours, world, *map(int, size), gain, times), times)
            cells += ["none" if number is None else f"{number:,} {unit}", shown]
        yield f"| {seeds} seeds, {items} items | {world.name} | " + " | ".join(cells) + " |"


PILOTS = (
    (WORLDS[0], 3, 200, 0.2),
    (WORLDS[1], 5, 100, 0.15),
    (WORLDS[3], 5, 300, 0.3),
    (WORLDS[2], 5, 200, 0.3),
)
"""Worlds, seeds, items and gains of comparisons that predict what they need."""

SECTIONS: dict[str, Callable[[int], Iterator[str]]] = {
    "Two equal arms that are told apart": equal_arms,
    "A better arm that is told apart": better_arms,
    "Tables of equal arms with any false verdict": equal_tables,
    "Arms of which one's seeds vary more that are told apart": unlike_arms,
    "The best of ten arms that is told apart": better_of_ten,
    "Two equal arms on items in groups that are told apart": groups_of_items,
    "Intervals that hold the true score": intervals,
    "The cheaper of two arms that is recommended": cheaper_arms,
    "Equal arms that are told apart at any of several looks": several_looks,
    "Seeds or items that show a difference in 80 % of cases": enough,
}


if __name__ == "__main__":
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    for title, section in SECTIONS.items():
        if len(sys.argv) < 3 or section.__name__ in sys.argv[2:]:
            sys.stdout.writelines(f"{line}\n" for line in (f"### {title}", "", *section(repetitions), ""))
            sys.stdout.flush()
