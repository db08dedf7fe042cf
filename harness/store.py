"""Runs on disk. Stored runs are never deleted or overwritten.

<root>/.harness                                       marks a results folder of harness
<root>/runs/<strategy>-<stages>-s<seed>-<id>/
    run.json            the run's settings; the id is their hash
    log.jsonl           the training curve
    predictions.npz     outputs, targets, ids and groups of every cell of the score matrix
    model/              only with --keep-models: adapter or weights, safetensors
    outcome.json        the outcome; written last, by rename: the run has finished
    failure.json        why it did not finish; the run is tried again next time
    worker.log          output of its process, if any
    checkpoint/         the state of its training, until it has ended
<root>/studies/<strategy>-<id>/                       hyperparameter search of an arm
    trials.log          the trials, in Optuna's journal format
    <budget>.json       the chosen settings
<root>/reports/         tables and plots, rewritten by every command that creates them
<root>/cache/           can be deleted at any time; rebuilt when needed
"""

from __future__ import annotations

import difflib
import functools
import hashlib
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
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from pydantic import ValidationError
from pydantic_core import from_json

from harness.contracts import hash_files
from harness.errors import DamagedError, HarnessError
from harness.records import Failure, Outcome, Predictions, Run

MARK = ".harness"
FORMAT = "1\n"
_PREDICTIONS, _LOG = "predictions.npz", "log.jsonl"
WORKER_LOG = "worker.log"
_CELL = re.compile(r"ids-(?P<moment>\d+)-(?P<problem>\d+)\.npy")
_UNSAFE = re.compile(r"[^A-Za-z0-9_]+")
_SMALL = 2**18
"""Bytes of a file that is read whole: the buffer of `hashlib.file_digest`, which takes longer than a small file."""


class Store:
    """The results folder."""

    def __init__(self, root: Path) -> None:
        """Open or create the results folder at `root`.

        Raises:
            HarnessError: The folder contains something else, has another format, or cannot be written.
        """
        self.root = root
        mark = root / MARK
        try:
            if not mark.exists():
                if root.exists() and (not root.is_dir() or any(root.iterdir())):
                    message = (
                        f"{str(root)!r} is not empty and not a results folder of harness: give another folder with "
                        "--results"
                    )
                    raise HarnessError(message)
                (root / "runs").mkdir(parents=True, exist_ok=True)
                write_atomically(mark, FORMAT)
            elif mark.read_text(encoding="utf-8") != FORMAT:
                message = f"results folder {str(root)!r} was written by another version of harness: give another folder"
                raise HarnessError(message)
            (root / "runs").mkdir(exist_ok=True)
        except OSError as error:
            message = f"results folder {str(root)!r} cannot be used: {error.strerror or error}"
            raise HarnessError(message) from None

    @property
    def cache(self) -> Path:
        """Folder for data that can be rebuilt."""
        return self.root / "cache"

    def folder(self, run: Run) -> Path:
        """Return the run's folder, which may not exist yet."""
        return Path(self._place(run, run.id))

    def study(self, run: Run, study_id: str) -> Path:
        """Return the folder of the hyperparameter search of a run's arm, which may not exist yet."""
        name = _UNSAFE.sub("-", run.strategy.name).strip("-")
        return self.root / "studies" / f"{name}-{study_id}"

    def _place(self, run: Run, run_id: str) -> str:
        # As text: with thousands of runs, path objects take more time than reading.
        names = [run.strategy.name, *(problem.dataset.name for problem in run.stages)]
        # Names come from plugins: they must not lead out of the results folder.
        slug = "-".join(_UNSAFE.sub("-", name).strip("-") for name in names)
        return f"{self.root}/runs/{slug[:80]}-s{run.seed}-{run_id}"

    def outcome(self, run: Run) -> Outcome | None:
        """Return the outcome of a finished run; None if it has not finished.

        Raises:
            DamagedError: Its files were changed, or belong to another run.
        """
        wanted = run.id
        folder = self._place(run, wanted)
        text = _read(f"{folder}/outcome.json")
        if text is None:
            return None
        try:
            outcome = Outcome.model_validate_json(text)
            # run.json is written first: if it is not older than outcome.json, it may have been edited.
            asked = wanted if _is_older(f"{folder}/run.json", f"{folder}/outcome.json") else _read_id(folder)
        except ValidationError as error:
            message = (
                f"stored run {folder!r} cannot be read ({error.errors()[0]['msg']}): move it away to compute it again"
            )
            raise DamagedError(message) from None
        if outcome.run_id != wanted or asked != wanted:
            message = (
                f"stored run {folder!r} was edited, and its files belong to another run: move it away to compute it "
                "again"
            )
            raise DamagedError(message)
        self._check_evidence(folder, outcome)
        return outcome

    def sound(self, run: Run) -> Outcome | None:
        """Return the outcome of a finished run; None if it has not finished or is damaged."""
        try:
            return self.outcome(run)
        except DamagedError:
            return None

    def _check_evidence(self, folder: str, outcome: Outcome) -> None:
        """Check that a finished run's predictions and log are unchanged.

        Raises:
            DamagedError: A file was changed; the message says which.
        """
        for name, sha256 in ((_PREDICTIONS, outcome.predictions_sha256), (_LOG, outcome.log_sha256)):
            if sha256 is None and name == _LOG:
                continue  # a run stored before log hashes existed: its curve is only shown
            path = f"{folder}/{name}"
            try:
                found = _sha256(path, sha256)
            except (OSError, zipfile.BadZipFile, zlib.error) as error:
                why = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
                message = f"stored run {folder!r}: {name} {why}: move the folder away to compute the run again"
                raise DamagedError(message) from None
            if sha256 is not None and found != sha256:
                message = (
                    f"stored run {folder!r}: {name} was changed after the run ended (sha256 mismatch): move the folder "
                    "away to compute the run again"
                )
                raise DamagedError(message)

    def seal(self, run: Run) -> str:
        """Return the current sha256 of a finished run's predictions."""
        return _sha256(f"{self._place(run, run.id)}/{_PREDICTIONS}", "")

    def failure(self, run: Run) -> Failure | None:
        """Return why the run failed when it was last tried; None if it was not tried, or has finished since."""
        folder = self.folder(run)
        text = _read(folder / "failure.json")
        if text is None or (folder / "outcome.json").exists():
            return None
        return Failure.model_validate_json(text)

    def predictions(self, run: Run, moment: int, problem: int) -> Predictions:
        """Return the stored predictions of one cell of a finished run's score matrix."""
        with np.load(self.folder(run) / _PREDICTIONS, allow_pickle=False) as arrays:
            outputs, targets, ids = (arrays[f"{part}-{moment}-{problem}"] for part in ("outputs", "targets", "ids"))
            groups = arrays.get(f"groups-{moment}-{problem}")
        return Predictions(outputs, targets, ids, groups)

    def item_sums(self, run: Run) -> dict[tuple[int, int], int]:
        """Return a checksum of the item ids of each cell of a finished run's score matrix, without reading the ids.

        Raises:
            HarnessError: The predictions are missing or damaged.
        """
        path = self.folder(run) / _PREDICTIONS
        try:
            return _item_sums(path)
        except (OSError, zipfile.BadZipFile) as error:
            message = (
                f"predictions {str(path)!r} cannot be read ({error}): move the run's folder away to compute the run "
                "again"
            )
            raise HarnessError(message) from None

    def item_ids(self, run: Run, moment: int, problem: int) -> NDArray[Any]:
        """Return the ids, `[n]`, of the items of one cell of a finished run's score matrix."""
        with np.load(self.folder(run) / _PREDICTIONS, allow_pickle=False) as arrays:
            return np.asarray(arrays[f"ids-{moment}-{problem}"])

    def find(self, name: str) -> Run:
        """Return the stored run with this id or folder name; a unique prefix of either is enough.

        Raises:
            HarnessError: No run matches, or several do.
        """
        ids = {path.parent.name.rpartition("-")[2]: path for path in sorted(self.root.glob("runs/*/run.json"))}
        found = [run_id for run_id, path in ids.items() if run_id.startswith(name) or path.parent.name.startswith(name)]
        if len(found) > 1:
            some = ", ".join([*found[:3], *(["..."] if len(found) > 3 else [])])
            message = f"{name!r} matches {len(found)} runs ({some}): give a longer prefix of the id"
            raise HarnessError(message)
        if not found:
            near = difflib.get_close_matches(name, ids, n=3)
            message = f"no run {name!r} in {str(self.root)!r}: " + (
                f"did you mean {' or '.join(near)}?" if near else "harness plan --json lists the ids of an experiment"
            )
            raise HarnessError(message)
        folder = ids[found[0]].parent
        try:
            run = Run.model_validate_json(_read(ids[found[0]]) or b"")
        except ValidationError as error:
            message = f"stored run {str(folder)!r} cannot be read ({error.errors()[0]['msg']})"
            raise HarnessError(message) from None
        if self.folder(run) != folder:
            message = f"stored run {str(folder)!r} was edited: its run.json belongs to another run"
            raise HarnessError(message)
        return run

    def log(self, run: Run) -> list[dict[str, Any]]:
        """Return the events of a run's training curve, in order; empty if there are none."""
        lines = (_read(self.folder(run) / _LOG) or b"").splitlines()
        return [from_json(line) for line in lines]

    def claim(self, run: Run) -> FileLock | None:
        """Return a held lock that tells other workers that this one computes the run; None if another one holds it.

        It is released by `release()`, or by the system if the process ends.
        """
        folder = self.folder(run)
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "claim")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
        return lock

    @contextmanager
    def attempt(self, run: Run) -> Iterator[Path]:
        """Lock the run's folder while the run is computed; a second process that needs it waits."""
        folder = self.folder(run)
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock"):
            if not (folder / "run.json").exists():
                write_atomically(folder / "run.json", dump(run.model_dump(mode="json")))
            yield folder

    def finish(self, run: Run, outcome: Outcome, predictions: Mapping[tuple[int, int], Predictions]) -> None:
        """Store the outcome, written last: its presence means that all other files are complete."""
        folder = self.folder(run)
        arrays: dict[str, Any] = {}
        for (moment, problem), predicted in predictions.items():
            arrays[f"outputs-{moment}-{problem}"] = predicted.outputs
            arrays[f"targets-{moment}-{problem}"] = predicted.targets
            arrays[f"ids-{moment}-{problem}"] = predicted.ids
            if predicted.groups is not None:
                arrays[f"groups-{moment}-{problem}"] = predicted.groups
        with replacing(folder / _PREDICTIONS) as path, path.open("wb") as file:
            np.savez_compressed(file, **arrays)
        checksums = _item_sums(folder / _PREDICTIONS)
        log = folder / _LOG
        sealed = outcome.model_copy(
            update={
                "evaluations": tuple(
                    cell.model_copy(update={"ids_crc32": checksums.get((cell.moment, cell.problem))})
                    for cell in outcome.evaluations
                ),
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
    """Return indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def file_name(title: str) -> str:
    """Return the file name, without extension, for what has this title."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", title).strip(".-") or "table"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` atomically, or is deleted if writing fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)  # mkstemp makes the file private; results are shared
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file completely or not at all; text as UTF-8."""
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def _is_older(first: str, second: str) -> bool:
    try:
        return os.stat(first).st_mtime_ns < os.stat(second).st_mtime_ns  # noqa: PTH116 - see Store._place
    except FileNotFoundError:
        return False


def _sha256(path: str, expected: str | None) -> str:
    """Return a file's sha256, cached while its size and modification time do not change.

    Args:
        path: The file.
        expected: The expected hash; None if unknown: then the archive's own checksums are checked as well.
    """
    found = os.stat(path)  # noqa: PTH116 - see Store._place
    return _hash_file(path, found.st_size, found.st_mtime_ns, expected is None)


@functools.cache
def _hash_file(path: str, size: int, changed: int, by_its_own: bool) -> str:
    del changed
    if by_its_own:
        with zipfile.ZipFile(path) as archive:
            if (bad := archive.testzip()) is not None:
                message = f"{bad} is damaged"
                raise zipfile.BadZipFile(message)
    with open(path, "rb") as file:  # noqa: PTH123 - see Store._place
        if size < _SMALL:
            return hashlib.sha256(file.read()).hexdigest()
        return hashlib.file_digest(file, "sha256").hexdigest()


def _item_sums(path: Path) -> dict[tuple[int, int], int]:
    with zipfile.ZipFile(path) as archive:
        cells = [(_CELL.fullmatch(entry.filename), entry.CRC) for entry in archive.infolist()]
    return {(int(cell["moment"]), int(cell["problem"])): checksum for cell, checksum in cells if cell}


def _read_id(folder: str) -> str:
    return Run.model_validate_json(_read(f"{folder}/run.json") or b"").id


def _read(path: str | Path) -> bytes | None:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - see Store._place
            return file.read()
    except FileNotFoundError:
        return None
