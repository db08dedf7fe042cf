"""The command line, called in the process of a test."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from harness.cli.app import main


def run_command(
    *arguments: object, cwd: str | Path = ".", given: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `harness` with the arguments, as a shell would, but in this process, which has its libraries imported.

    Args:
        arguments: What follows `harness`; each becomes a string.
        cwd: The folder to run it in.
        given: Standard input.
        environment: Environment variables, beside those of this process; `COLUMNS` is 200 unless it is among them.

    Returns:
        Exit status, standard output and standard error.
    """
    spelled = [str(argument) for argument in arguments]
    status = 0
    runner = CliRunner()
    with contextlib.chdir(cwd), runner.isolation(given, {"COLUMNS": "200"} | environment) as (output, errors, *_):
        try:
            main(spelled)
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        sys.stdout.flush()
        sys.stderr.flush()
        said = [stream.getvalue().decode() for stream in (output, errors)]
    return subprocess.CompletedProcess(["harness", *spelled], status, *said)
