"""Cache of values computed from stored runs: one SQLite file, because opening thousands of files is slow.

    <cache>/analysis.sqlite     table known: run, key → value; the key fully determines the value

It can be deleted at any time. A damaged file is treated as missing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

_WAIT_SECONDS = 30.0
"""How long to wait for another process that writes."""
_SCHEMA = "CREATE TABLE IF NOT EXISTS known (run TEXT, key TEXT, value BLOB, PRIMARY KEY (run, key)) WITHOUT ROWID"


class AnalysisCache:
    """Cached values of runs, by run id and key."""

    def __init__(self, path: Path) -> None:
        """Use the file at `path`; it is created when the first value is written."""
        self._path = path
        self._database: sqlite3.Connection | None = None

    def read(self, run_id: str, kind: str) -> dict[str, bytes]:
        """Return the cached values of a run whose keys start with `kind` and a space; empty if there are none."""
        query = "SELECT key, value FROM known WHERE run = ? AND key >= ? AND key < ?"
        try:
            if self._database is None:
                if not self._path.exists():
                    return {}
                self._database = sqlite3.connect(self._path, timeout=_WAIT_SECONDS)
            return dict(self._database.execute(query, (run_id, f"{kind} ", f"{kind}!")))
        except sqlite3.DatabaseError:
            return {}

    def close(self) -> None:
        """Close the file; it is opened again on the next read."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def keep(self, values: Mapping[tuple[str, str], bytes]) -> None:
        """Write values by run id and key; other values in the file stay."""
        self.close()
        if not values:
            return
        rows = [(run_id, key, value) for (run_id, key), value in values.items()]
        try:
            self._write(rows)
        except sqlite3.DatabaseError:
            self._path.unlink(missing_ok=True)  # damaged
            self._write(rows)

    def _write(self, rows: list[tuple[str, str, bytes]]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self._path, timeout=_WAIT_SECONDS)) as database, database:
            database.execute(_SCHEMA)
            database.executemany("INSERT OR REPLACE INTO known VALUES (?, ?, ?)", rows)
