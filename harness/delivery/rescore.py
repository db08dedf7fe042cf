"""Comparison of a delivered folder's predictions with the stored ones, in a new process with only the folder and the texts.

    python -m harness.delivery.rescore FOLDER TEXTS [onnx]

TEXTS is a folder with `rows` (the test split) and `predictions.npz` (its stored predictions). The result is JSON on the last line.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.delivery.load import Delivered
from harness.delivery.manifest import Rescored, versions
from harness.errors import HarnessError
from harness.records import Predictions

if TYPE_CHECKING:
    import datasets

TOLERANCES = {"float32": 1e-3, "float16": 1e-2, "bfloat16": 5e-2}
"""Tolerance of scores by precision of weights or arithmetic, relative to the larger of 1 and the stored score."""
_PRECISIONS = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
_TIE = 1e-5
"""Difference of the two best scores below which either class is accepted, because rounding decides."""
_SHOWN = 3


class Compared(NamedTuple):
    """How two sets of predictions of the same items differ."""

    items: int
    unequal: NDArray[Any]
    """Ids of the items with different predictions."""
    largest_difference: float | None
    """Largest difference of scores, relative to the larger of 1 and the expected score; None for texts."""


def compare(
    expected: Predictions,
    found: Predictions,
    says: Literal["class", "classes", "number", "text"] | None,
    tolerance: float,
) -> Compared:
    """Return the differences of predictions: in classes, in texts, or in scores by more than a tolerance.

    Args:
        expected: The stored predictions.
        found: The current predictions.
        says: The task's kind of prediction; see `Task.answers`.
        tolerance: Tolerance of scores, relative to the larger of 1 and the expected score.

    Raises:
        ValueError: The predictions are not for the same items.
    """
    orders = [np.argsort(part.ids, kind="stable") for part in (expected, found)]
    if not np.array_equal(expected.ids[orders[0]], found.ids[orders[1]]):
        message = f"the {len(found.ids)} predicted items are not the {len(expected.ids)} stored items"
        raise ValueError(message)
    ids = expected.ids[orders[0]]
    wanted, got = expected.outputs[orders[0]], found.outputs[orders[1]]
    if wanted.dtype.kind not in "fiu":
        if wanted.ndim > 1:
            width = max(wanted.shape[1], got.shape[1])
            wanted, got = (np.pad(a, ((0, 0), (0, width - a.shape[1])), constant_values="") for a in (wanted, got))
        same = (wanted == got).reshape(len(ids), -1).all(1)
        return Compared(len(ids), ids[~same], None)
    wanted, got = wanted.astype(float), got.astype(float)
    differences = np.abs(wanted - got) / np.maximum(1, np.abs(wanted))
    close = (differences <= tolerance).reshape(len(ids), -1).all(1)
    same = close
    if says == "class" and wanted.ndim > 1 and wanted.shape[1] > 1:
        best = np.sort(wanted, axis=1)
        same = close & ((wanted.argmax(1) == got.argmax(1)) | (best[:, -1] - best[:, -2] <= _TIE))
    elif says == "classes":
        same = close & (((wanted > 0) == (got > 0)) | (np.abs(wanted) <= _TIE)).all(1)
    return Compared(len(ids), ids[~same], float(differences.max()) if differences.size else 0.0)


def rescore(folder: Path, rows: datasets.Dataset, expected: Predictions, *, onnx: bool = False) -> Rescored:
    """Compare a folder's predictions with the stored ones in a new process.

    Args:
        folder: The delivered folder.
        rows: The test split, each row with its `id`.
        expected: Its stored predictions.
        onnx: Use the folder's ONNX graph.

    Raises:
        HarnessError: The folder cannot be loaded, or predictions differ; gives the number of items and some ids.
    """
    with tempfile.TemporaryDirectory(prefix="harness-") as name:
        texts = Path(name)
        rows.save_to_disk(texts / "rows")
        np.savez(texts / "predictions.npz", outputs=expected.outputs, targets=expected.targets, ids=expected.ids)
        command = [
            sys.executable,
            "-m",
            "harness.delivery.rescore",
            str(folder),
            str(texts),
            *(["onnx"] if onnx else []),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own module
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        why = (done.stderr.strip().splitlines() or ["the process ended without output"])[-1]
        message = f"the delivered model failed in a new process: {why}"
        raise HarnessError(message)
    said: dict[str, Any] = json.loads(lines[-1])
    if "problem" in said:
        raise HarnessError(str(said["problem"]))
    return Rescored(**said)


def _ask(folder: Path, texts: Path, *, onnx: bool) -> dict[str, Any]:
    import datasets

    datasets.disable_progress_bars()
    rows = datasets.load_from_disk(texts / "rows")
    with np.load(texts / "predictions.npz", allow_pickle=False) as stored:
        expected = Predictions(stored["outputs"], stored["targets"], stored["ids"])
    delivered = Delivered(folder, onnx=onnx)
    manifest = delivered.manifest
    tolerance = max(TOLERANCES.get(manifest.dtype, 0.0), TOLERANCES[_PRECISIONS[manifest.precision]])
    found = delivered.evaluate({name: rows[name][:] for name in rows.column_names})
    compared = compare(expected, found, delivered.task.answers, tolerance)
    if len(compared.unequal):
        some = ", ".join(map(str, compared.unequal[:_SHOWN].tolist())) + (
            ", ..." if len(compared.unequal) > _SHOWN else ""
        )
        by = (
            "" if compared.largest_difference is None else f", scores differ by up to {compared.largest_difference:.2g}"
        )
        kept = (
            f" with {manifest.dtype} weights (--dtype float32 keeps the tuned weights)"
            if manifest.dtype != "float32"
            else ""
        )
        message = (
            f"the model, loaded with {delivered.loader}{kept}, gives other predictions than stored for {len(compared.unequal)} of "
            f"{compared.items} test items (ids {some}){by}; it was not delivered"
        )
        raise HarnessError(message)
    return Rescored(
        loader=delivered.loader,
        items=compared.items,
        equal=compared.items - len(compared.unequal),
        largest_difference=compared.largest_difference,
        tolerance=None if compared.largest_difference is None else tolerance,
        device=delivered.device,
        versions=versions(),
    ).model_dump(mode="json")


def _main() -> None:
    folder, texts, *rest = sys.argv[1:]
    try:
        said = _ask(Path(folder), Path(texts), onnx=bool(rest))
    except (HarnessError, ValueError) as error:
        said = {"problem": str(error)}
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    _main()
