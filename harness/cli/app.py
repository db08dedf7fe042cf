"""The command `harness`."""

from __future__ import annotations

import errno
import importlib.metadata
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from harness.cli.bundle import bundle
from harness.cli.compare import compare
from harness.cli.describe import describe
from harness.cli.diff import diff
from harness.cli.doctor import doctor
from harness.cli.export import export
from harness.cli.gc import gc, rm
from harness.cli.list import list_components
from harness.cli.ls import ls
from harness.cli.new import new
from harness.cli.plan import plan
from harness.cli.predict import predict
from harness.cli.recommend import recommend
from harness.cli.report import report
from harness.cli.schema import schema
from harness.cli.verify import verify
from harness.cli.why import why
from harness.cli.work import work
from harness.errors import HarnessError

app = typer.Typer(
    name="harness",
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
        names = ("finetune-harness", "torch", "transformers", "peft", "accelerate")
        sys.stdout.write("\n".join(f"{name} {importlib.metadata.version(name)}" for name in names) + "\n")
        raise typer.Exit


app.command()(compare)
app.command()(plan)
app.command()(work)
app.command()(report)
app.command()(recommend)
app.command()(ls)
app.command()(diff)
app.command()(why)
app.command()(export)
app.command()(predict)
app.command()(verify)
app.command()(bundle)
app.command()(gc)
app.command()(rm)
app.command()(new)
app.command()(schema)
app.command("list")(list_components)
app.command()(describe)
app.command()(doctor)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a user error prints one line and exits with status 2.

    Args:
        arguments: What follows `harness`; None: what the process was started with.
    """
    try:
        app(arguments, prog_name="harness")
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
