"""What was computed of stored runs, for the next time: one SQLite file, because opening thousands takes longer than reading them.

    <cache>/analysis.sqlite     table known: run, key → value; what a key says decides what is in it

It can be deleted at any time. A file that is damaged, or cannot be written, is as good as none.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

_WAIT_SECONDS = 30.0
"""For another process that writes."""
_SCHEMA = "CREATE TABLE IF NOT EXISTS known (run TEXT, key TEXT, value BLOB, PRIMARY KEY (run, key)) WITHOUT ROWID"


class AnalysisCache:
    """Values of runs, by run id and key."""

    def __init__(self, path: Path) -> None:
        """Use the file at `path`; it is made when something is first kept."""
        self._path = path
        self._database: sqlite3.Connection | None = None

    def read(self, run_id: str, kind: str) -> dict[str, bytes]:
        """Return what is known of a run whose keys begin with a kind and a space; empty where nothing is."""
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
        """Let go of the file; it is opened again when it is next read."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def keep(self, values: Mapping[tuple[str, str], bytes]) -> None:
        """Keep values by run id and key; what others have kept stays."""
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
