"""`harness schema`: print the JSON schema of experiment files or of tables."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from harness.catalog import load_catalog
from harness.cli import options
from harness.contracts import Component, Dataset, Model, Strategy, Task
from harness.experiment.spec import ExperimentSpec
from harness.records import TrainConfig
from harness.reports import Table


def schema(
    table: Annotated[bool, typer.Option("--table", help="That of `report --format json` instead.")] = False,
    without: options.Without = None,
) -> None:
    """Print the JSON schema of experiment files, with the installed datasets, models, strategies and their settings.

    An editor with a TOML language server uses it if the file starts with `#:schema experiment.schema.json`.
    """
    found = Table.model_json_schema(mode="serialization") if table else describe(without or ())
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


def describe(without: Any = ()) -> dict[str, Any]:
    """Return the JSON schema of experiment files."""
    catalog = load_catalog(without)
    train = TrainConfig.model_json_schema()
    kinds: tuple[type[Component], ...] = (Model, Dataset, Strategy, Task)
    every = {kind: [cls.name for cls in catalog.every(kind)] for kind in kinds}

    task = {"type": "string", "examples": every[Task]}

    def entry(kind: type[Component], key: str) -> dict[str, Any]:
        settings = {
            name: {**({"description": field.description} if field.description else {})}
            for cls in catalog.every(kind)
            for name, field in cls.model_fields.items()
        }
        named = {"type": "string", "examples": every[kind]}
        more: dict[str, Any] = (
            {"train": {"$ref": "#/$defs/train"}, "label": {"type": "string"}} if kind is Strategy else {}
        )
        more |= (
            {"task": {"anyOf": [task, {"type": "object", "required": ["name"], "properties": {"name": task}}]}}
            if kind is Dataset
            else {}
        )
        return {"anyOf": [named, {"type": "object", "required": [key], "properties": {key: named, **more, **settings}}]}

    made = ExperimentSpec.model_json_schema()
    properties = made["properties"]
    properties["model"] = entry(Model, "name") | {"description": properties["model"].get("description", "")}
    for name in ("stages", "watch"):
        properties[name] |= {"items": entry(Dataset, "dataset")}
    properties["strategies"] |= {"items": entry(Strategy, "name")}
    properties["train"] = {"$ref": "#/$defs/train"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "experiment of harness",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "required": ["stages"],
        "$defs": {"train": {key: value for key, value in train.items() if key != "title"}},
    }
