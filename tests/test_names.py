"""The core learns no name: whatever it compares, and whatever writes or computes it, enters through plugins."""

import ast
from pathlib import Path

import pytest
from peft import PeftType
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from harness.catalog import KINDS

CORE = Path(__file__).parents[1] / "harness"
TEMPLATES = CORE / "cli" / "new.py"
"""What it writes names components, as a user's own code does."""
WORDS = {"file", "json", "csv", "rich", "local", "peft", "prefix"}
"""Names that the core says for something else: a parameter, a format, a package, a word."""


def names(catalog) -> set[str]:
    """Every installed component, family of models and method of PEFT."""
    components = {cls.name for kind in KINDS.values() for cls in catalog.every(kind)}
    families = {name for name in CONFIG_MAPPING_NAMES if "-" in name or "_" in name or any(map(str.isdigit, name))}
    return (components | families | {kind.value.lower() for kind in PeftType}) - WORDS


def literals(path: Path) -> set[str]:
    """Every string that the code of a file has, docstrings left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


@pytest.mark.parametrize(
    "path", sorted(set(CORE.rglob("*.py")) - {TEMPLATES}), ids=lambda path: str(path.relative_to(CORE))
)
def test_no_file_of_the_core_names_what_a_plugin_offers(catalog, path):
    assert literals(path) & names(catalog) == set()


def test_the_names_of_every_kind_are_looked_for(catalog):
    assert {"lora", "macro-f1", "markdown", "in-process", "imdb", "probe", "minilm"} <= names(catalog)
