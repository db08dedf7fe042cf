"""Runs on disk. Nothing stored is ever deleted or written over.

<root>/.harness                                       marks a folder as ours
<root>/runs/<strategy>-<stages>-s<seed>-<id>/
    run.json            asked; the id is its hash
    log.jsonl           the training curve
    predictions.npz     outputs, targets and ids of every cell of the score matrix
    model/              only if asked: adapter or weights, safetensors
    outcome.json        happened; written last, by rename: it means finished
    failure.json        why it did not finish; the run is tried again next time
    worker.log          what its process printed, if anything
<root>/studies/<strategy>-<id>/                       how an arm's settings were chosen
    trials.log          what was tried, as Optuna keeps it
    <budget>.json       what was chosen
<root>/reports/         tables and plots, written again by every command that makes them
<root>/cache/           can be deleted at any time; made again where needed
"""

from __future__ import annotations

import difflib
import functools
import json
import os
import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from pydantic import ValidationError

from harness.contracts import hash_files
from harness.errors import DamagedError, HarnessError
from harness.records import Failure, Outcome, Predictions, Run

MARK = ".harness"
FORMAT = "1\n"
_PREDICTIONS, _LOG = "predictions.npz", "log.jsonl"
WORKER_LOG = "worker.log"
_CELL = re.compile(r"ids-(?P<moment>\d+)-(?P<problem>\d+)\.npy")
_UNSAFE = re.compile(r"[^A-Za-z0-9_]+")


class Store:
    """The results folder."""

    def __init__(self, root: Path) -> None:
        """Open the results folder at `root`, or make one.

        Raises:
            HarnessError: The folder holds something else, was written by another format, or cannot be written.
        """
        self.root = root
        mark = root / MARK
        try:
            if not mark.exists():
                if root.exists() and (not root.is_dir() or any(root.iterdir())):
                    message = (
                        f"{str(root)!r} is not empty and not a results folder of harness: name another with --results"
                    )
                    raise HarnessError(message)
                (root / "runs").mkdir(parents=True, exist_ok=True)
                write_atomically(mark, FORMAT)
            elif mark.read_text(encoding="utf-8") != FORMAT:
                message = f"results folder {str(root)!r} was written by another version of harness: name another"
                raise HarnessError(message)
            (root / "runs").mkdir(exist_ok=True)
        except OSError as error:
            message = f"results folder {str(root)!r} cannot be used: {error.strerror or error}"
            raise HarnessError(message) from None

    @property
    def cache(self) -> Path:
        """Where what can be made again is kept."""
        return self.root / "cache"

    def folder(self, run: Run) -> Path:
        """Return the run's own folder, which need not exist yet."""
        return Path(self._place(run, run.id))

    def study(self, run: Run, study_id: str) -> Path:
        """Return the folder of the search for the settings of a run's arm, which need not exist yet."""
        name = _UNSAFE.sub("-", run.strategy.name).strip("-")
        return self.root / "studies" / f"{name}-{study_id}"

    def _place(self, run: Run, run_id: str) -> str:
        # As text: a table of thousands of runs spends more time on path objects than on reading.
        names = [run.strategy.name, *(problem.dataset.name for problem in run.stages)]
        # Names come from plugins: nothing in them may lead out of the results folder.
        slug = "-".join(_UNSAFE.sub("-", name).strip("-") for name in names)
        return f"{self.root}/runs/{slug[:80]}-s{run.seed}-{run_id}"

    def outcome(self, run: Run) -> Outcome | None:
        """Return what happened in a finished run; None if it has not finished.

        Raises:
            DamagedError: Its files are not those that were written, or answer another run.
        """
        wanted = run.id
        folder = self._place(run, wanted)
        text = _read(f"{folder}/outcome.json")
        if text is None:
            return None
        try:
            outcome = Outcome.model_validate_json(text)
            # What was asked is written first: if it is not older, it may have been edited since.
            asked = wanted if _is_older(f"{folder}/run.json", f"{folder}/outcome.json") else _read_id(folder)
        except ValidationError as error:
            message = f"stored run {folder!r} cannot be read ({error.errors()[0]['msg']}): move it away to compute it"
            raise DamagedError(message) from None
        if outcome.run_id != wanted or asked != wanted:
            message = f"stored run {folder!r} was edited: its files belong to another run; move it away to compute it"
            raise DamagedError(message)
        self._check_evidence(folder, outcome)
        return outcome

    def sound(self, run: Run) -> Outcome | None:
        """Return what happened in a finished run; None if it has not finished, or is not as it was written."""
        try:
            return self.outcome(run)
        except DamagedError:
            return None

    def _check_evidence(self, folder: str, outcome: Outcome) -> None:
        """Make sure that a finished run's predictions and log are those that were written.

        Raises:
            DamagedError: They are not; says which.
        """
        for name, sha256 in ((_PREDICTIONS, outcome.predictions_sha256), (_LOG, outcome.log_sha256)):
            if sha256 is None and name == _LOG:
                continue  # of a run that was stored before hashes were: its curve is only shown
            path = f"{folder}/{name}"
            try:
                found = _sha256(path, sha256)
            except (OSError, zipfile.BadZipFile, zlib.error) as error:
                why = "is gone" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
                message = f"stored run {folder!r}: {name} {why}: move the folder away to compute it"
                raise DamagedError(message) from None
            if sha256 is not None and found != sha256:
                message = (
                    f"stored run {folder!r}: {name} was changed after the run ended (another sha256): move the folder away to "
                    "compute it"
                )
                raise DamagedError(message)

    def seal(self, run: Run) -> str:
        """Return the sha256 of a finished run's predictions as they are."""
        return _sha256(f"{self._place(run, run.id)}/{_PREDICTIONS}", "")

    def failure(self, run: Run) -> Failure | None:
        """Return why the run did not finish when it was last tried; None if it was not, or has finished since."""
        folder = self.folder(run)
        text = _read(folder / "failure.json")
        if text is None or (folder / "outcome.json").exists():
            return None
        return Failure.model_validate_json(text)

    def predictions(self, run: Run, moment: int, problem: int) -> Predictions:
        """Return the stored predictions of one cell of a finished run's score matrix."""
        with np.load(self.folder(run) / _PREDICTIONS, allow_pickle=False) as arrays:
            outputs, targets, ids = (arrays[f"{part}-{moment}-{problem}"] for part in ("outputs", "targets", "ids"))
        return Predictions(outputs, targets, ids)

    def item_sums(self, run: Run) -> dict[tuple[int, int], int]:
        """Return a checksum of the item ids of each cell of a finished run's score matrix, without reading any.

        Raises:
            HarnessError: The predictions are gone or damaged.
        """
        path = self.folder(run) / _PREDICTIONS
        try:
            with zipfile.ZipFile(path) as archive:
                cells = [(_CELL.fullmatch(entry.filename), entry.CRC) for entry in archive.infolist()]
        except (OSError, zipfile.BadZipFile) as error:
            message = f"predictions {str(path)!r} cannot be read ({error}): move the run's folder away to compute it"
            raise HarnessError(message) from None
        return {(int(cell["moment"]), int(cell["problem"])): checksum for cell, checksum in cells if cell}

    def item_ids(self, run: Run, moment: int, problem: int) -> NDArray[Any]:
        """Return the ids, `[n]`, of the items of one cell of a finished run's score matrix."""
        with np.load(self.folder(run) / _PREDICTIONS, allow_pickle=False) as arrays:
            return np.asarray(arrays[f"ids-{moment}-{problem}"])

    def find(self, name: str) -> Run:
        """Return the stored run of this id or folder; the beginning of either is enough if no other begins so.

        Raises:
            HarnessError: There is none, or there are several.
        """
        ids = {path.parent.name.rpartition("-")[2]: path for path in sorted(self.root.glob("runs/*/run.json"))}
        found = [run_id for run_id, path in ids.items() if run_id.startswith(name) or path.parent.name.startswith(name)]
        if len(found) > 1:
            some = ", ".join([*found[:3], *(["..."] if len(found) > 3 else [])])
            message = f"{name!r} may be any of {len(found)} runs: {some}: give more of the id"
            raise HarnessError(message)
        if not found:
            near = difflib.get_close_matches(name, ids, n=3)
            message = f"no run {name!r} in {str(self.root)!r}: " + (
                f"did you mean {' or '.join(near)}?" if near else "harness plan --json tells the ids of an experiment"
            )
            raise HarnessError(message)
        folder = ids[found[0]].parent
        try:
            run = Run.model_validate_json(_read(ids[found[0]]) or "")
        except ValidationError as error:
            message = f"stored run {str(folder)!r} cannot be read ({error.errors()[0]['msg']})"
            raise HarnessError(message) from None
        if self.folder(run) != folder:
            message = f"stored run {str(folder)!r} was edited: its record is that of another run"
            raise HarnessError(message)
        return run

    def log(self, run: Run) -> list[dict[str, Any]]:
        """Return the events of a run's training curve, in order; none where it left none."""
        lines = (_read(self.folder(run) / _LOG) or "").splitlines()
        return [json.loads(line) for line in lines]

    @contextmanager
    def attempt(self, run: Run) -> Iterator[Path]:
        """Hold the run's folder while it is computed; a second process that wants it waits here."""
        folder = self.folder(run)
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock"):
            if not (folder / "run.json").exists():
                write_atomically(folder / "run.json", dump(run.model_dump(mode="json")))
            yield folder

    def finish(self, run: Run, outcome: Outcome, predictions: Mapping[tuple[int, int], Predictions]) -> None:
        """Store what happened. The outcome is written last: its presence means that everything else is whole."""
        folder = self.folder(run)
        arrays: dict[str, Any] = {}
        for (moment, problem), predicted in predictions.items():
            arrays[f"outputs-{moment}-{problem}"] = predicted.outputs
            arrays[f"targets-{moment}-{problem}"] = predicted.targets
            arrays[f"ids-{moment}-{problem}"] = predicted.ids
        with replacing(folder / _PREDICTIONS) as path, path.open("wb") as file:
            np.savez_compressed(file, **arrays)
        log = folder / _LOG
        sealed = outcome.model_copy(
            update={
                "predictions_sha256": hash_files([folder / _PREDICTIONS]),
                "log_sha256": hash_files([log]) if log.exists() else None,
            }
        )
        write_atomically(folder / "outcome.json", dump(sealed.model_dump(mode="json")))

    def fail(self, run: Run, failure: Failure) -> None:
        """Store why a run did not finish."""
        folder = self.folder(run)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "failure.json", dump(failure.model_dump(mode="json")))


def dump(value: object) -> str:
    """Return JSON as people can read it."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path to write to, which then takes the place of `path` at once, or vanishes if writing fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)  # mkstemp keeps the file from others; results are to be shared
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _is_older(first: str, second: str) -> bool:
    try:
        return os.stat(first).st_mtime_ns < os.stat(second).st_mtime_ns  # noqa: PTH116 - see Store._place
    except FileNotFoundError:
        return False


def _sha256(path: str, expected: str | None) -> str:
    """Return a file's sha256, read once as long as its size and time of change stay.

    Args:
        path: The file.
        expected: What it should be; None where that is not known: then an archive's own checksums are looked at as well.
    """
    found = os.stat(path)  # noqa: PTH116 - see Store._place
    return _hash_file(path, found.st_size, found.st_mtime_ns, expected is None)


@functools.cache
def _hash_file(path: str, size: int, changed: int, by_its_own: bool) -> str:
    del size, changed
    if by_its_own:
        with zipfile.ZipFile(path) as archive:
            if (bad := archive.testzip()) is not None:
                message = f"{bad} is damaged"
                raise zipfile.BadZipFile(message)
    return hash_files([Path(path)])


def _read_id(folder: str) -> str:
    return Run.model_validate_json(_read(f"{folder}/run.json") or "").id


def _read(path: str | Path) -> str | None:
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - see Store._place
            return file.read()
    except FileNotFoundError:
        return None
