import multiprocessing
import threading
import time
from pathlib import Path

import pytest

from harness.engine import cache as cache_module
from harness.engine.cache import Cache


def fill(folder: Path) -> None:
    (folder / "part").mkdir()
    (folder / "part" / "numbers.bin").write_bytes(bytes(range(256)) * 40)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[1000] ^= 1
    file.write_bytes(data)


def slow(root: Path, name: str) -> None:
    def build(folder: Path) -> None:
        for part in range(5):
            (folder / f"{part}").write_text(name)
            time.sleep(0.02)

    made = Cache(root).make("kind", "key", build)
    assert len({(made / f"{part}").read_text() for part in range(5)}) == 1


def test_what_was_made_is_found_and_not_made_again(tmp_path):
    assert Cache(tmp_path).find("kind", "key") is None
    made = Cache(tmp_path).make("kind", "key", fill)
    assert Cache(tmp_path).find("kind", "key") == made
    assert Cache(tmp_path).make("kind", "key", pytest.fail) == made


@pytest.mark.parametrize(
    ("damage", "file"),
    [
        (cut, "part/numbers.bin"),
        (flip, "part/numbers.bin"),
        (Path.unlink, "part/numbers.bin"),
        (cut, "manifest.json"),
        (Path.unlink, "manifest.json"),
    ],
    ids=["cut", "one bit", "gone", "manifest cut", "manifest gone"],
)
def test_what_is_damaged_is_made_anew(tmp_path, damage, file):
    made = Cache(tmp_path).make("kind", "key", fill)
    whole = (made / "part/numbers.bin").read_bytes()
    damage(made / file)
    assert Cache(tmp_path).find("kind", "key") is None
    assert (Cache(tmp_path).make("kind", "key", fill) / "part/numbers.bin").read_bytes() == whole
    assert Cache(tmp_path).find("kind", "key") == made


def test_what_another_version_made_is_not_used(tmp_path, monkeypatch):
    made = Cache(tmp_path).make("kind", "key", fill)
    monkeypatch.setattr(cache_module, "_makers", lambda: ["torch 0.1"])
    assert Cache(tmp_path).find("kind", "key") is None
    assert Cache(tmp_path).make("kind", "key", fill) != made


def test_a_build_that_fails_leaves_nothing_behind(tmp_path):
    def build(folder: Path) -> None:
        fill(folder)
        raise KeyError

    with pytest.raises(KeyError):
        Cache(tmp_path).make("kind", "key", build)
    assert [path for path in (tmp_path / "kind").iterdir() if path.is_dir()] == []


def test_processes_that_build_one_folder_at_a_time_do_not_corrupt_it(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=slow, args=(tmp_path, f"process {number}")) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert Cache(tmp_path).find("kind", "key") is not None


def test_waiting_ends_when_what_another_makes_is_there_and_at_once_where_nobody_makes_anything(tmp_path):
    Cache(tmp_path).wait("kind", "key")
    begun, made = threading.Event(), []

    def build(folder: Path) -> None:
        begun.set()
        time.sleep(0.1)
        fill(folder)
        made.append(folder)

    other = threading.Thread(target=Cache(tmp_path).make, args=("kind", "key", build))
    other.start()
    begun.wait()
    Cache(tmp_path).wait("kind", "key")
    assert made
    assert Cache(tmp_path).find("kind", "key")
    other.join()
