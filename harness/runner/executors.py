"""Which executor is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.catalog import Catalog
from harness.contracts import Executor
from harness.errors import HarnessError
from harness.experiment.spec import toml_value


def find_executor(catalog: Catalog, asked: str | None, flags: Mapping[str, Any], *, here: bool = False) -> Executor:
    """Return the executor that is asked for: by name with settings, or the default one.

    Args:
        catalog: Where executors are.
        asked: As `--executor` takes it.
        flags: Settings that have an option of their own; what is None or False was not given.
        here: Whether the one is asked for that computes in this process.

    Raises:
        HarnessError: There is none of that name, or it has no such setting.
    """
    if here and asked:
        message = f"--in-process and --executor {asked} exclude each other"
        raise HarnessError(message)
    name, _, text = (asked or "").partition(":")
    if not name:
        every = catalog.every(Executor)
        found = next((cls for cls in every if (cls.here if here else cls.default)), None)
        if found is None:
            message = "no executor is installed that computes here" if here else "no default executor is installed"
            raise HarnessError(f"{message}: name one with --executor")
        name = found.name
    settings: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            message = f"--executor {asked}: {part!r} is not of the form KEY=VALUE"
            raise HarnessError(message)
        settings[key] = toml_value(value)
    fields = catalog.find(Executor, name).model_fields
    for key, value in flags.items():
        if value in (None, False):
            continue
        if key not in fields:
            message = f"--{key.replace('_', '-')} cannot be used with executor {name!r}, which has no such setting"
            raise HarnessError(message)
        settings[key] = value
    return catalog.make(Executor, name, settings, "--executor: ")
