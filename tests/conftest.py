"""What all tests share: real small things, and an environment that reaches no hub."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

# Before torch is imported anywhere. Tiny models are slowed down by threads, and tests may share the machine.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.pop("HARNESS_RESULTS", None)

import pytest

from harness.catalog import Catalog, load_catalog
from harness.testing import write_tiny_model

_LIBRARIES = ("PYTEST_", "WANDB_", "ACCELERATE_", "FSDP_", "KMP_", "TOKENIZERS_", "TORCH")
SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that have slow tests, so that processes that share the files end at the same time."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """Keep what is imported out of the collections of garbage, of which each training makes one."""
    gc.freeze()


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    """What the installed plugins offer."""
    return load_catalog()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny random BERT."""
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def shared_data() -> Path:
    """The folder of real data beside the project; the test is skipped where there is none."""
    if not SHARED_DATA.is_dir():
        pytest.skip("needs the data folder beside the project (../shared/data)")
    return SHARED_DATA


@pytest.fixture(autouse=True)
def unchanged_environment() -> Iterator[None]:
    """Fail a test that leaves environment variables changed."""
    before = dict(os.environ)
    yield
    added = {key for key in os.environ.keys() - before.keys() if not key.startswith(_LIBRARIES)}
    assert not added, f"the test left {added} in the environment"
