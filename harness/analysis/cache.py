"""What was computed of stored runs, for the next time: one SQLite file, because opening thousands takes longer than reading them.

    <cache>/analysis.sqlite     table known: run, key → value; what a key says decides what is in it

It can be deleted at any time. A file that is damaged, or cannot be written, is as good as none.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

_WAIT_SECONDS = 30.0
"""For another process that writes."""
_SCHEMA = "CREATE TABLE IF NOT EXISTS known (run TEXT, key TEXT, value BLOB, PRIMARY KEY (run, key)) WITHOUT ROWID"


class AnalysisCache:
    """Values of runs, by run id and key."""

    def __init__(self, path: Path) -> None:
        """Use the file at `path`; it is made when something is first kept."""
        self._path = path

    def read(self, run_id: str, kind: str) -> dict[str, bytes]:
        """Return what is known of a run whose keys begin with a kind and a space; empty where nothing is."""
        if not self._path.exists():
            return {}
        query = "SELECT key, value FROM known WHERE run = ? AND key >= ? AND key < ?"
        try:
            with self._open() as database:
                return dict(database.execute(query, (run_id, f"{kind} ", f"{kind}!")))
        except sqlite3.DatabaseError:
            return {}

    def keep(self, values: Mapping[tuple[str, str], bytes]) -> None:
        """Keep values by run id and key; what others have kept stays."""
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
        with self._open() as database, database:
            database.execute(_SCHEMA)
            database.executemany("INSERT OR REPLACE INTO known VALUES (?, ?, ?)", rows)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=_WAIT_SECONDS)) as database:
            yield database
