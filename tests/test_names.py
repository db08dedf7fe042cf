"""The core learns no name: whatever it compares enters through plugins."""

import re
from pathlib import Path

import pytest
from peft import PeftType
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from harness.contracts import Dataset, Model, Task

CORE = Path(__file__).parents[1] / "harness"
WORDS = {
    "datasets and models": {"file", "folder", "hub"},
    "families": {"clip"},
    "methods": {"miss"},
    "tasks": set[str](),
}
"""Names that are words of English, and stand for nothing else in the core."""


def names(catalog) -> set[str]:
    """Every dataset, model, family of models, method of PEFT and task."""
    components = {cls.name for kind in (Dataset, Model) for cls in catalog.every(kind)} - WORDS["datasets and models"]
    families = set(CONFIG_MAPPING_NAMES) - WORDS["families"]
    methods = {kind.value.lower() for kind in PeftType} - WORDS["methods"]
    tasks = {cls.name for cls in catalog.every(Task)} - WORDS["tasks"]
    return components | families | methods | tasks


@pytest.mark.parametrize("path", sorted(CORE.rglob("*.py")), ids=lambda path: str(path.relative_to(CORE)))
def test_no_file_of_the_core_names_what_is_compared(catalog, path):
    words = set(re.findall(r"[a-z0-9]+(?:[-_][a-z0-9]+)*", path.read_text(encoding="utf-8").lower()))
    parts = words | {part for word in words for part in re.split(r"[-_]", word)}
    found = parts & names(catalog)
    assert found == set()
