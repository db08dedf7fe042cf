"""Documents are true: what they name is there, and what they say to type is understood."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```\n(.*?)```", README, flags=re.DOTALL) for line in block.splitlines()]


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("harness compare")])
def test_every_comparison_the_readme_shows_can_be_planned(command, tmp_path):
    (tmp_path / "reviews.csv").write_text("review,sentiment\n" + "".join(f"text {n},{n % 2}\n" for n in range(30)))
    arguments = ["plan", *shlex.split(command)[2:], "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "harness.cli", *arguments],
        cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_readme_names_every_command_and_no_other():
    from harness.cli.app import app

    named = set(re.findall(r"^\| `harness (\w+)", README, flags=re.MULTILINE))
    registered = {(command.name or command.callback.__name__) for command in app.registered_commands}
    assert named == registered


def test_the_make_targets_the_readme_names_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`?make (\w+)", README):
        assert f"\n{target}:" in makefile


@pytest.mark.parametrize("path", ["README.md", "plugins/README.md", "experiments/README.md", "results/README.md"])
def test_links_within_the_project_lead_somewhere(path):
    text = (ROOT / path).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert ((ROOT / path).parent / target).exists(), target


def test_the_readmes_table_has_the_columns_and_rows_of_the_quickstarts():
    def shape(text: str) -> list[str]:
        rows = [line for line in text.splitlines() if line.startswith("|")]
        return [rows[0], *(row.split("|")[1] for row in rows[1:])]

    table = (ROOT / "results" / "tables" / "quickstart.md").read_text(encoding="utf-8")
    shown = README.partition("<!-- table -->")[2].partition("<!-- /table -->")[0]
    assert shape(shown) == shape(table)
