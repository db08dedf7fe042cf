"""How often the printed interval of a difference holds the mean difference, over real samples of training rows.

    python tests/bench/coverage.py ../shared/data/sst2/stsa.binary.train ../shared/data/sst2/stsa.binary.dev

draws 40 files of 160 rows from 1,200 of SST-2 (Socher et al., 2013, Recursive Deep Models for Semantic Compositionality), compares
strategies on each as for a data file given by itself, and counts the intervals that hold the mean over the 40 files. Strategies
are those on frozen features, so that it takes minutes. Results are in `docs/statistics.md`.
"""

import csv
import random
import statistics
import sys
import tempfile
from pathlib import Path

from scipy.stats import binomtest

import harness

FILES, ROWS, POOL, TEST, SEEDS = 40, 160, 1200, 400, 3
STRATEGIES = ["frozen", "frozen-ridge", "nearest-centroid"]


def rows_of(path: str, count: int) -> list[tuple[str, str]]:
    """Return that many rows of a file of lines such as `1 a good film`."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return [(text, label) for label, _, text in (line.partition(" ") for line in random.Random(0).sample(lines, count))]


def written(path: Path, rows: list[tuple[str, str]]) -> Path:
    """Write rows as a file with a header."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return path


def main() -> None:
    """Print a line for each pair of strategies."""
    pool = rows_of(sys.argv[1], POOL)
    found: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        test = written(Path(folder) / "test.csv", rows_of(sys.argv[2], TEST))
        for number in range(FILES):
            train = written(Path(folder) / f"train-{number}.csv", random.Random(number + 1).sample(pool, ROWS))
            comparison = harness.compare(
                train, options=[f"file.test={test}"], strategies=STRATEGIES, reference=STRATEGIES[0],
                seeds=range(SEEDS), watch="none", executor="in-process", results=Path(folder) / "results",
            )  # fmt: skip
            for row in comparison.table().rows:
                cell = row.cells[0]
                if row.role == "contender" and cell.difference is not None and cell.difference_half_width is not None:
                    found.setdefault(row.label, []).append((cell.difference, cell.difference_half_width))
    for label, differences in found.items():
        mean = statistics.fmean(value for value, _ in differences)
        held = sum(abs(value - mean) <= half for value, half in differences)
        low, high = binomtest(held, len(differences)).proportion_ci(method="wilson")
        sys.stdout.write(
            f"{label} against {STRATEGIES[0]}: mean difference {mean:+.3f}, held by {held} of {len(differences)} intervals "
            f"({100 * held / len(differences):.1f} %, {100 * low:.1f} to {100 * high:.1f})\n"
        )


if __name__ == "__main__":
    main()
