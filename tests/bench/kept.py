"""What a bench measures, and where its measurements are kept."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"
HARNESS = [sys.executable, "-m", "harness.cli"]
EPOCHS = 3
TIMED_SEEDS = 3
"""Of the whole comparison; further seeds only add to the accuracies."""
SIDE_BY_SIDE = 2

CASES = {
    # dataset, most tokens, rows of train, validation and test, strategies
    "short": ("rotten-tomatoes", 16, (1000, 50, 500), ("full", "lora")),
    "sentences": ("rotten-tomatoes", 64, (1000, 50, 1000), ("full", "frozen", "lora")),
    "reviews": ("imdb", 256, (192, 32, 192), ("full", "lora")),
}
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
QUICK = 4
"""By how much data is smaller with --quick."""
SCALES = (1_000, 10_000, 100_000)
NEIGHBOURS = (0, 1, 2)
STARTS = 5
"""How often each command is started; the median is shown."""
ARMS, SEEDS_OF_ARM = 100, 100
"""Of the table over many runs."""
PARTS = (*CASES, "neighbours", "scale", "starts", "many")

say = Console(stderr=True).print


@dataclass(frozen=True)
class Bench:
    """What is measured, and where it is kept."""

    seeds: tuple[int, ...]
    precisions: tuple[str, ...]
    quick: bool

    @property
    def folder(self) -> Path:
        """Return the folder of the measurements."""
        return RESULTS / ("bench-quick" if self.quick else "bench")

    def rows(self, case: str) -> list[int]:
        """Return the rows of a case's train, validation and test splits."""
        return [count // QUICK if self.quick else count for count in CASES[case][2]]

    def seeds_of(self, case: str) -> tuple[int, ...]:
        """Return the seeds of a case: all for sentences, whose accuracy is shown."""
        return self.seeds if case == "sentences" else self.seeds[:TIMED_SEEDS]

    def once(self, name: str, measure: Callable[[], Any]) -> None:
        """Measure, unless an earlier bench has; keep the result."""
        path = self.folder / f"{name}.json"
        if path.exists():
            return
        say(f"{name} …")
        result = measure()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=2), encoding="utf-8")
        say(f"{name}: {result.get('seconds', 0):.1f} s")

    def kept(self, name: str) -> Any:
        """Return a measurement; None if it was not made."""
        path = self.folder / f"{name}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
