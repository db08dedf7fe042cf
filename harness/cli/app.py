"""The command `harness`."""

from __future__ import annotations

import errno
import functools
import gc
import pkgutil
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from harness.errors import HarnessError

_COLLECTING = (50_000, 20, 20)
"""When garbage is collected: what a table is made of stays until it is written, and looking through it again and again
took a fifth of the time of a large one."""
_COMMANDS = {
    "compare": ("compare:compare", "Compare tuning strategies: compute the missing runs, then print the table."),
    "plan": (
        "plan:plan",
        "Show what `compare` would run with the same arguments: how it reads the data, and which runs are done.",
    ),
    "work": (
        "work:work",
        "Compute missing runs, each once, together with any number of other workers on machines that share the folder.",
    ),
    "report": (
        "report:report",
        "Print the table from stored runs only; missing runs are blank. Takes the same arguments as `compare`.",
    ),
    "recommend": (
        "recommend:recommend",
        "Recommend a strategy, with its probability of meeting the constraints and what would change the choice.",
    ),
    "ls": ("ls:ls", "List the comparisons in the results folder, or with `--runs` its runs."),
    "diff": (
        "diff:diff",
        "Show the arms that two comparisons have in common side by side: the second's verdicts are against the first's.",
    ),
    "why": ("why:why", "Show the fields in which two runs differ, and which of their numbers can be compared."),
    "export": (
        "export:export",
        "Write an arm's model to a folder that transformers, PEFT or sentence-transformers can load, with a model card.",
    ),
    "predict": (
        "predict:predict",
        "Add predictions to the rows of a file: a label and its probability, tags, an answer or a text.",
    ),
    "verify": (
        "verify:verify",
        "Recompute every cell of a comparison's table from stored predictions, and list differences and changed files.",
    ),
    "bundle": (
        "bundle:bundle",
        "Pack the runs and table of a comparison into a file that `harness verify FILE.zip` can check on any machine.",
    ),
    "gc": ("gc:gc", "Delete the runs that no comparison needs and no table names; lists them and asks first."),
    "rm": ("gc:rm", "Delete a comparison, and those of its runs that no other comparison or table needs; asks first."),
    "new": ("new:new", "Write a template plugin: a package with a test that passes."),
    "schema": (
        "schema:schema",
        "Print the JSON schema of experiment files, with the installed datasets, models, strategies and their settings.",
    ),
    "list": (
        "list:list_components",
        "List the installed components: models, datasets, tasks, strategies, metrics, reporters, executors and trackers.",
    ),
    "describe": (
        "describe:describe",
        "Show a component: its description, its parameters with types, defaults and help, and its source.",
    ),
    "doctor": (
        "doctor:doctor",
        "Show versions, devices, plugins with their state, and which optional packages are missing.",
    ),
}
"""By name, in the order of the help: the function, in a module of `harness.cli`, and the first line of its docstring."""


class _Command(TyperCommand):
    """A command whose module is imported when it is called or described, so that no command waits for the others'."""

    @functools.cached_property
    def whole(self) -> TyperCommand:
        """Return the command with its parameters."""
        name = str(self.name)
        function = pkgutil.resolve_name(f"harness.cli.{_COMMANDS[name][0]}")
        alone = typer.Typer(add_completion=False)
        alone.command(name)(function)
        command = typer.main.get_command(alone)
        assert isinstance(command, TyperCommand)
        return command

    def make_context(self, *args: Any, **extra: Any) -> Any:
        """Return the context of the whole command."""
        return self.whole.make_context(*args, **extra)

    def get_params(self, ctx: Any) -> Any:
        """Return the parameters of the whole command."""
        return self.whole.get_params(ctx)


class _Commands(TyperGroup):
    """All commands, of which none is imported yet."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands.update({name: _Command(name, help=line) for name, (_, line) in _COMMANDS.items()})


app = typer.Typer(
    name="harness",
    cls=_Commands,
    help="Compare ways of tuning a pretrained language model by accuracy, cost and forgetting.",
    epilog="Exit status: 0 success, 1 a run failed, 2 an error in the command or the data.",
    no_args_is_help=True,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", help="Print the versions of harness and its main libraries.", is_eager=True)
    ] = False,
) -> None:
    """Compare ways of tuning a pretrained language model by accuracy, cost and forgetting."""
    if version:
        import importlib.metadata

        names = ("finetune-harness", "torch", "transformers", "peft", "accelerate")
        sys.stdout.write("\n".join(f"{name} {importlib.metadata.version(name)}" for name in names) + "\n")
        raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a user error prints one line and exits with status 2.

    Args:
        arguments: What follows `harness`; None: what the process was started with.
    """
    gc.set_threshold(*_COLLECTING)
    try:
        app(arguments, prog_name="harness", obj=sys.argv[1:] if arguments is None else list(arguments))
    except HarnessError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2) from None
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        sys.stderr.write(
            f"error: no space left on disk ({error.filename}): free some space and run the same command again\n"
        )
        raise SystemExit(2) from None
