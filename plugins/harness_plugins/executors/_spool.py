"""A shared folder through which a command hands jobs to workers on other machines, and hears of them.

All is done by files that appear whole (they are written elsewhere and renamed): `jobs/` has the jobs that nobody has taken,
`taken/WORKER/` those that a worker computes, `results/` what became of each, `told/` the progress of each, a line an event,
`stop/` why a job is to end early. `alive` is touched by the command while it lives, and `closed` says that no more jobs come.
"""

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import harness

Result = harness.Outcome | harness.Failure

_LOOK_SECONDS = 0.5
"""How often a worker looks for a job."""
_GONE_SECONDS = 300.0
"""A worker ends if it has no job and the command has not been heard of for so long."""


class Spool:
    """The folder."""

    def __init__(self, folder: Path) -> None:
        """Open the folder, which may not exist yet."""
        self.folder = folder
        self._read: dict[str, int] = {}
        """How many bytes of each job's progress are read."""

    # The command's side.

    def create(self) -> None:
        """Create the folder."""
        for name in ("jobs", "taken", "results", "told", "stop"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        _write(self.folder / "versions.json", json.dumps(harness.versions()))
        self.breathe()

    def breathe(self) -> None:
        """Tell the workers that the command lives."""
        (self.folder / "alive").touch()

    def add(self, job: harness.Job) -> None:
        """Offer a job to the workers."""
        _write(self.folder / "jobs" / f"{job.run.id}.json", job.model_dump_json())

    def events(self, job: harness.Job) -> Iterator[dict[str, Any]]:
        """Yield what is new of a job's progress."""
        try:
            with (self.folder / "told" / job.run.id).open("rb") as file:
                if file.seek(0, os.SEEK_END) < self._read.get(job.run.id, 0):
                    self._read[job.run.id] = 0  # begun anew by another worker
                file.seek(self._read.get(job.run.id, 0))
                for line in file:
                    if not line.endswith(b"\n"):
                        break  # being written
                    self._read[job.run.id] = self._read.get(job.run.id, 0) + len(line)
                    yield json.loads(line)
        except FileNotFoundError:
            return

    def result(self, job: harness.Job) -> Result | None:
        """Return what became of a job; None if it is not known yet."""
        path = self.folder / "results" / f"{job.run.id}.json"
        if not path.exists():
            return None
        found = harness.parse_result(path.read_text(encoding="utf-8"))
        path.unlink()
        (self.folder / "told" / job.run.id).unlink(missing_ok=True)
        self._read.pop(job.run.id, None)
        return found

    def stop(self, job: harness.Job, reason: str) -> None:
        """Have a job end early."""
        _write(self.folder / "stop" / job.run.id, reason)

    def taken_by(self, worker: str) -> set[str]:
        """Return the ids of the runs that a worker computes."""
        return {path.stem for path in (self.folder / "taken" / worker).glob("*.json")}

    def refusals(self) -> list[str]:
        """Return why workers compute nothing."""
        return [path.read_text(encoding="utf-8") for path in sorted((self.folder / "refused").glob("[!.]*"))]

    def take_back(self, job: harness.Job) -> None:
        """Withdraw a job, whoever has it."""
        for path in (self.folder / "jobs" / f"{job.run.id}.json", *self.folder.glob(f"taken/*/{job.run.id}.json")):
            path.unlink(missing_ok=True)

    def give_back(self, worker: str) -> None:
        """Offer to all workers what one has taken that does not run."""
        for path in (self.folder / "taken" / worker).glob("*.json"):
            with contextlib.suppress(FileNotFoundError):
                path.rename(self.folder / "jobs" / path.name)

    def close(self) -> None:
        """Tell the workers that no more jobs come."""
        _write(self.folder / "closed", "")

    # A worker's side.

    def jobs(self, worker: str) -> Iterator[harness.Job]:
        """Take jobs, one by one; those that this worker had before it was started again come first."""
        mine = self.folder / "taken" / worker
        mine.mkdir(parents=True, exist_ok=True)
        for kept in sorted(mine.glob("*.json")):
            yield self._job(kept)
        while True:
            path = self._take(mine)
            if path is not None:
                yield self._job(path)
            elif (self.folder / "closed").exists() or not self._is_alive():
                return
            else:
                time.sleep(_LOOK_SECONDS)

    def tell(self, job: harness.Job, event: dict[str, Any]) -> str | None:
        """Report an event of a job; return why it is to end early, or None."""
        with (self.folder / "told" / job.run.id).open("a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")
        try:
            return (self.folder / "stop" / job.run.id).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def compute(self, job: harness.Job, *, cpu: bool = False) -> Result:
        """Compute a job in this process."""

        def tell(event: dict[str, Any]) -> None:
            self.tell(job, event)

        return harness.compute(job, tell, harness.Place(cpu=cpu))

    def answer(self, job: harness.Job, result: Result, worker: str) -> None:
        """Report what became of a job."""
        _write(self.folder / "results" / f"{job.run.id}.json", result.model_dump_json())
        (self.folder / "taken" / worker / f"{job.run.id}.json").unlink(missing_ok=True)

    def refuse(self, worker: str, reason: str) -> None:
        """Tell the command why a worker computes nothing."""
        _write(self.folder / "refused" / worker, reason)

    def differing(self) -> str | None:
        """Return in which versions this machine differs from that of the command; None if it does not."""
        asked = json.loads((self.folder / "versions.json").read_text(encoding="utf-8"))
        found = harness.versions()
        apart = [
            f"{name} {found.get(name, 'is missing')} instead of {version}"
            for name, version in asked.items()
            if found.get(name) != version
        ]
        return "; ".join(apart) or None

    def _take(self, mine: Path) -> Path | None:
        for path in sorted((self.folder / "jobs").glob("*.json")):
            try:
                path.rename(mine / path.name)
            except FileNotFoundError:
                continue  # another worker was faster
            return mine / path.name
        return None

    def _job(self, path: Path) -> harness.Job:
        (self.folder / "told" / path.stem).unlink(missing_ok=True)
        return harness.Job.model_validate_json(path.read_text(encoding="utf-8"))

    def _is_alive(self) -> bool:
        try:
            return time.time() - (self.folder / "alive").stat().st_mtime < _GONE_SECONDS
        except FileNotFoundError:
            return False


def _write(path: Path, text: str) -> None:
    """Write a file so that it appears whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    passing = path.with_name(f".{path.name}-{os.getpid()}")
    passing.write_text(text, encoding="utf-8")
    passing.rename(path)
