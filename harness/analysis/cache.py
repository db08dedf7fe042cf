"""Cache of values computed from stored runs: one SQLite file, because opening thousands of files is slow.

    <cache>/analysis.sqlite     table known: run, key → value; the key fully determines the value

It can be deleted at any time. A damaged file is treated as missing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

_WAIT_SECONDS = 30.0
"""How long to wait for another process that writes."""
_AT_ONCE = 500
"""Number of runs read by one query; SQLite allows 999 parameters or more."""
_SCHEMA = "CREATE TABLE IF NOT EXISTS known (run TEXT, key TEXT, value BLOB, PRIMARY KEY (run, key)) WITHOUT ROWID"


class AnalysisCache:
    """Cached values of runs, by run id and key. The file is only open while it is read or written."""

    def __init__(self, path: Path | None = None) -> None:
        """Use the file at `path`, which is created by the first `save`; None to keep values in memory only."""
        self._path = path
        self._known: dict[str, dict[str, bytes]] = {}
        self._fresh: dict[tuple[str, str], bytes] = {}

    def read(self, run_ids: Iterable[str]) -> None:
        """Read all values of some runs at once, which takes less time than a query for each of thousands of runs."""
        missing = [run_id for run_id in dict.fromkeys(run_ids) if run_id not in self._known]
        self._known |= {run_id: {} for run_id in missing}
        if self._path is None or not self._path.exists():
            return
        try:
            with closing(sqlite3.connect(self._path, timeout=_WAIT_SECONDS)) as database:
                for start in range(0, len(missing), _AT_ONCE):
                    some = missing[start : start + _AT_ONCE]
                    query = f"SELECT run, key, value FROM known WHERE run IN ({','.join('?' * len(some))})"  # noqa: S608 - only marks
                    for run_id, key, value in database.execute(query, some):
                        self._known[run_id][key] = value
        except sqlite3.DatabaseError:
            return  # damaged

    def get(self, run_id: str, key: str) -> bytes | None:
        """Return a value of a run; None if it is not known."""
        if run_id not in self._known:
            self.read([run_id])
        return self._known[run_id].get(key)

    def put(self, run_id: str, key: str, value: bytes) -> None:
        """Add a value, which `save` writes."""
        self._known.setdefault(run_id, {})[key] = value
        self._fresh[run_id, key] = value

    def save(self) -> None:
        """Write the values that were added; those written by other processes stay."""
        rows = [(run_id, key, value) for (run_id, key), value in self._fresh.items()]
        self._fresh = {}
        if self._path is None or not rows:
            return
        try:
            _write(self._path, rows)
        except sqlite3.DatabaseError:
            self._path.unlink(missing_ok=True)  # damaged
            _write(self._path, rows)


def _write(path: Path, rows: list[tuple[str, str, bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=_WAIT_SECONDS)) as database, database:
        database.execute(_SCHEMA)
        database.executemany("INSERT OR REPLACE INTO known VALUES (?, ?, ?)", rows)
