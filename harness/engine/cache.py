"""Cache of results that can be rebuilt: prepared data, tokens, features, predictions before tuning.

<cache>/<kind>/<key>/      written to a sibling folder and renamed, so that it is complete or absent
    manifest.json          every file's size and checksum; a folder that does not match is rebuilt
    ...

The key includes the versions of the packages, so other versions use other folders. A lock per folder makes a second process
wait for the first and then use its result.
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

# Increase when cached content changes without a change of its key.
_FORMAT = 1
_MAKERS = ("finetune-harness", "torch", "transformers", "tokenizers", "datasets", "numpy")
_MANIFEST = "manifest.json"


class Cache:
    """Cached folders that can be rebuilt."""

    def __init__(self, root: Path) -> None:
        """Use `root` for all folders; it is created when first needed."""
        self.root = root
        self._sound: set[Path] = set()

    def place(self, kind: str, key: object) -> Path:
        """Return the path of the folder of this kind and key, whether it exists or not.

        Args:
            kind: The kind of content, in one word.
            key: A JSON value with everything that determines the content, except package versions.
        """
        return self.root / kind / digest([_FORMAT, _makers(), key])[:16]

    def find(self, kind: str, key: object) -> Path | None:
        """Return the folder if it exists and is undamaged."""
        folder = self.place(kind, key)
        if folder not in self._sound:
            if not _is_sound(folder):
                return None
            self._sound.add(folder)
        return folder

    def wait(self, kind: str, key: object) -> None:
        """Wait until no other process is building the folder."""
        folder = self.place(kind, key)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            pass

    def make(self, kind: str, key: object, build: Callable[[Path], None]) -> Path:
        """Return the folder; if it is missing or damaged, `build` fills an empty one first."""
        if found := self.find(kind, key):
            return found
        folder = self.place(kind, key)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            # Another process may have built it while this one waited.
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
        temporary.chmod(0o755)  # mkdtemp makes it private; results are shared
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _locked(folder: Path) -> FileLock:
    return FileLock(folder.parent / f".{folder.name}.lock")


def _is_sound(folder: Path) -> bool:
    """Return whether the folder's files match their checksums."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        return all(_checksum(folder / name) == expected for name, expected in manifest.items())
    except (OSError, ValueError, AttributeError):
        return False


def _checksum(path: Path) -> list[int]:
    """Return a file's size and CRC-32, which detects accidental damage at reading speed."""
    size, crc = 0, 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            size, crc = size + len(block), zlib.crc32(block, crc)
    return [size, crc]


@functools.cache
def _makers() -> list[str]:
    return [f"{name} {importlib.metadata.version(name)}" for name in _MAKERS]
