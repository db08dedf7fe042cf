"""`harness doctor`: check this installation."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape

from harness.catalog import KINDS, load_catalog
from harness.cli import options
from harness.cli.list import missing

_PACKAGES = ("finetune-harness", "torch", "transformers", "peft", "accelerate", "datasets", "pluggy", "typer")


def doctor(results: options.Results = Path("results"), without: options.Without = None) -> None:
    """Show versions, devices, plugins with their state, and which optional packages are missing.

    The exit status is 1 if a plugin did not load.
    """
    console = Console(highlight=False, soft_wrap=True)
    catalog = load_catalog(without or ())
    console.print("[bold]versions[/bold]")
    console.print(f"  python {platform.python_version()} on {platform.platform()}")
    for name in _PACKAGES:
        console.print(f"  {name} {importlib.metadata.version(name)}")
    console.print("[bold]devices[/bold]")
    for line in _devices():
        console.print(f"  {escape(line)}")
    console.print("[bold]plugins[/bold]")
    for state in catalog.states:
        word = f"[red]did not load: {escape(state.problem)}[/red]" if state.problem else "ok"
        console.print(f"  {state.name} ({escape(state.distribution)}): {word}")
    for name in sorted(catalog.without):
        console.print(f"  {name}: left out by --without")
    console.print("[bold]components with missing dependencies[/bold]")
    needs = [
        f"{kind} {name}: {reason}"
        for kind in KINDS
        for name, offer in sorted(catalog.offers[kind].items())
        if (reason := missing(offer.component))
    ]
    for line in needs or ["none: all embedded models and datasets are installed"]:
        console.print(f"  {escape(line)}")
    place = results if results.exists() else Path()
    console.print(f"[bold]results[/bold]\n  {results.absolute()}, {shutil.disk_usage(place).free / 1e9:.1f} GB free")
    if any(state.problem for state in catalog.states):
        raise typer.Exit(1)


def _devices() -> list[str]:
    import os

    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    lines = [f"CPU, {cores} cores, {torch.get_num_threads()} threads"]
    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        lines.append(f"GPU {number}: {properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    return lines
