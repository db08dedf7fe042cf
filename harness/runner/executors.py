"""Selection of the executor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.catalog import Catalog
from harness.contracts import Executor
from harness.errors import HarnessError
from harness.experiment.spec import parse_settings


def find_executor(catalog: Catalog, asked: str | None, flags: Mapping[str, Any], *, here: bool = False) -> Executor:
    """Return the requested executor, by name with settings, or the default one.

    Args:
        catalog: Provides the executors.
        asked: The value of `--executor`.
        flags: Settings with their own options; None or False means not given.
        here: Whether to use the executor that computes in this process.

    Raises:
        HarnessError: The executor does not exist, has no such setting, or is not installed.
    """
    if here and asked:
        message = f"--in-process cannot be used with --executor {asked}"
        raise HarnessError(message)
    name, _, text = (asked or "").partition(":")
    if not name:
        every = catalog.every(Executor)
        found = next((cls for cls in every if (cls.here if here else cls.default)), None)
        if found is None:
            message = "no in-process executor is installed" if here else "no default executor is installed"
            raise HarnessError(f"{message}: name one with --executor")
        name = found.name
    settings: dict[str, Any] = dict(parse_settings(text, f"--executor {asked}"))
    fields = catalog.find(Executor, name).model_fields
    for key, value in flags.items():
        if value in (None, False):
            continue
        if key not in fields:
            message = f"--{key.replace('_', '-')} cannot be used with executor {name!r}, which has no such setting"
            raise HarnessError(message)
        settings[key] = value
    executor = catalog.make(Executor, name, settings, "--executor: ")
    if missing := executor.missing():
        message = f"executor {name!r} needs {missing}"
        raise HarnessError(message)
    return executor
