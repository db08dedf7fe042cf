"""What can be made again: data as a run uses it, tokens, features, predictions before tuning.

<cache>/<kind>/<key>/      written beside its place and renamed, so that it is whole or absent
    manifest.json          every file's size and checksum: what does not match is made anew, never used
    ...

The key holds the versions of what made it, so another version looks elsewhere. A lock per folder makes the second of two
processes wait for the first and then use what it made.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import shutil
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from harness.records import digest
from harness.store import dump

# Raised when what is kept changes without a change in what it is known by.
_FORMAT = 1
_MAKERS = ("finetune-harness", "torch", "transformers", "tokenizers", "datasets", "numpy")
_MANIFEST = "manifest.json"


class Cache:
    """Folders that can be made again."""

    def __init__(self, root: Path) -> None:
        """Keep everything under `root`; its folder is made when first needed."""
        self.root = root
        self._sound: set[Path] = set()

    def place(self, kind: str, key: object) -> Path:
        """Return where the folder of this kind and key is, or would be.

        Args:
            kind: What is in it, in a word.
            key: A JSON value: everything that decides what is in it, but for the versions of what makes it.
        """
        return self.root / kind / digest([_FORMAT, _makers(), key])[:16]

    def find(self, kind: str, key: object) -> Path | None:
        """Return the folder if it is there and undamaged."""
        folder = self.place(kind, key)
        if folder not in self._sound:
            if not _is_sound(folder):
                return None
            self._sound.add(folder)
        return folder

    def wait(self, kind: str, key: object) -> None:
        """Wait until no other process is making the folder."""
        folder = self.place(kind, key)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            pass

    def make(self, kind: str, key: object, build: Callable[[Path], None]) -> Path:
        """Return the folder; if it is not there or is damaged, `build` fills an empty one first."""
        if found := self.find(kind, key):
            return found
        folder = self.place(kind, key)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            # Another process may have made it while this one waited.
            if not _is_sound(folder):
                shutil.rmtree(folder, ignore_errors=True)
                _build(folder, build)
        self._sound.add(folder)
        return folder


def _build(folder: Path, build: Callable[[Path], None]) -> None:
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        build(temporary)
        files = sorted(path for path in temporary.rglob("*") if path.is_file())
        manifest = {str(path.relative_to(temporary)): _checksum(path) for path in files}
        (temporary / _MANIFEST).write_text(dump(manifest), encoding="utf-8")
        temporary.chmod(0o755)  # mkdtemp keeps it from others; results are to be shared
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _locked(folder: Path) -> FileLock:
    return FileLock(folder.parent / f".{folder.name}.lock")


def _is_sound(folder: Path) -> bool:
    """Return whether the folder holds what was put into it, byte for byte."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        return all(_checksum(folder / name) == expected for name, expected in manifest.items())
    except (OSError, ValueError, AttributeError):
        return False


def _checksum(path: Path) -> list[int]:
    """Return a file's size and CRC-32: against accidents, at the speed of reading."""
    size, crc = 0, 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            size, crc = size + len(block), zlib.crc32(block, crc)
    return [size, crc]


@functools.cache
def _makers() -> list[str]:
    return [f"{name} {importlib.metadata.version(name)}" for name in _MAKERS]
