"""Documents are true: what they name is there, and what they say to type is understood."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer

from harness.cli.app import app
from harness.contracts import Executor, Tracker
from harness.experiment.asked import Asked
from harness.experiment.spec import parse_settings
from harness.testing import run_command, write_tiny_model
from harness_plugins.datasets.file import File

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```\n(.*?)```", README, flags=re.DOTALL) for line in block.splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("harness compare")])
def test_every_comparison_the_readme_shows_can_be_planned(command, tmp_path):
    (tmp_path / "reviews.csv").write_text("review,sentiment\n" + "".join(f"text {n},{n % 2}\n" for n in range(30)))
    arguments = ["plan", *shlex.split(command)[2:], "--json"]
    done = run_command(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


DOCUMENTS = [
    ROOT / "README.md",
    *(ROOT / name for name in ("CONTRIBUTING.md", "results/README.md", "experiments/README.md")),
]
DOCUMENTS += sorted((ROOT / "docs").glob("*.md"))
SHOWN = [
    pytest.param(shlex.split(command.replace("...", ""))[1:], id=command)
    for path in DOCUMENTS
    for command in dict.fromkeys(
        re.findall(r"(?:^|`)(harness [a-z]+(?: [^`\n]*)?)(?:`|$)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    )
]


@pytest.mark.parametrize("arguments", SHOWN)
def test_every_command_that_a_document_shows_is_understood(arguments, catalog):
    name, *rest = arguments
    commands = typer.main.get_command(app).commands
    assert name in commands
    command = commands[name]
    asked = command.make_context(name, list(rest)).params if rest else {}  # without any, it is only mentioned
    if value := asked.get("executor"):
        kind, _, settings = value.partition(":")
        catalog.make(Executor, kind, parse_settings(settings, value))
    for value in asked.get("track") or ():
        kind, _, settings = value.partition(":")
        catalog.make(Tracker, kind, parse_settings(settings, value))


def test_the_help_lists_each_command_with_the_first_line_of_its_own_help():
    for name, command in typer.main.get_command(app).commands.items():
        assert command.help == command.whole.help.partition("\n")[0], name


def test_the_readme_names_every_command_and_no_other():
    named = set(re.findall(r"^\| `harness (\w+)", README, flags=re.MULTILINE))
    assert named == set(typer.main.get_command(app).commands)


@pytest.mark.parametrize("path", ["README.md", "CONTRIBUTING.md"])
def test_the_make_targets_that_a_document_names_exist(path):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {name for line in re.findall(r"^([a-z- ]+):", makefile, flags=re.MULTILINE) for name in line.split()}
    text = (ROOT / path).read_text(encoding="utf-8")
    assert set(re.findall(r"(?:^    |`)make ([a-z-]+)", text, flags=re.MULTILINE)) <= targets


def test_every_file_that_contributing_names_exists():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    roots = (".", "harness", "harness/analysis", "plugins/harness_plugins", "tests/plugins/executors")
    named = {name for name in re.findall(r"`([\w./-]+/[\w./-]*|[\w/-]+\.(?:py|md|toml))", text) if "NAME" not in name}
    assert len(named) > 30
    assert [name for name in sorted(named) if not any((ROOT / root / name).exists() for root in roots)] == []


@pytest.mark.parametrize(
    "path", ["README.md", "CONTRIBUTING.md", "plugins/README.md", "experiments/README.md", "results/README.md"]
)
def test_links_within_the_project_lead_somewhere(path):
    text = (ROOT / path).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert ((ROOT / path).parent / target).exists(), target


def test_the_readmes_table_is_the_quickstarts_without_some_columns():
    def cells(text: str) -> list[list[str]]:
        lines = [line for line in text.splitlines() if line.startswith("|")]
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]

    table = cells((ROOT / "results" / "tables" / "quickstart.md").read_text(encoding="utf-8"))
    shown = cells(README.partition("<!-- table -->")[2].partition("<!-- /table -->")[0])
    positions = [table[0].index(title) for title in shown[0]]
    assert shown == [[row[position] for position in positions] for row in table]


ANSWERS = re.split(r"\n(?=## |\*\*\[)", (ROOT / "results" / "README.md").read_text(encoding="utf-8"))
TOLD = {found[1]: part for part in ANSWERS if (found := re.search(r"\(tables/([\w-]+)\.md\)", part))}


INTERVAL = r"\d+\.\d+\s(?:±\s+\d+\.\d+|\[\d+\.\d+,\s+\d+\.\d+\])"


@pytest.mark.parametrize("name", [name for name, part in TOLD.items() if re.search(INTERVAL, part)])
def test_every_interval_that_an_answer_tells_stands_in_its_table(name):
    table = (ROOT / "results" / "tables" / f"{name}.md").read_text(encoding="utf-8")
    for told in re.findall(INTERVAL, TOLD[name]):
        assert " ".join(told.split()) in table


FILES = {
    "text-classification": ("pairs.csv", "text,other,label\na,b,x\nc,d,y\n", {"COLUMN": "other"}),
    "multi-label-classification": ("labels.csv", 'text,label\na,"x,y"\nc,\n', {}),
    "regression": ("scores.csv", "text,label\na,1.5\nc,2\n", {}),
    "token-classification": ("names.txt", "Anna B-a\n\nit O\n", {}),
    "question-answering": (
        "asked.json",
        '{"data": [{"paragraphs": [{"context": "a b", "qas": [{"question": "b?", "answers": [], "is_impossible": true}]}]}]}',
        {},
    ),
    "completion": ("asked.csv", "text,answer\n1+1?,2\n", {"COLUMN": "answer"}),
    "language-modelling": ("prose.csv", "text\nonce upon a time\n", {}),
}


@pytest.mark.parametrize("task", FILES)
def test_what_the_readme_says_of_a_file_makes_it_that_task(catalog, tmp_path, task):
    row = next(line for line in README.splitlines() if line.startswith("|") and f"| `{task}` |" in line)
    name, text, values = FILES[task]
    (tmp_path / name).write_text(text, encoding="utf-8")
    options = [option.replace("COLUMN", values.get("COLUMN", "")) for option in re.findall(r"`-o ([^`]+)`", row)]
    model = write_tiny_model(tmp_path / "model", "LlamaForCausalLM", num_key_value_heads=2)
    # A file that a name alone would tell is given another name here, so that the option has to.
    asked = Asked(target=str(tmp_path / name), options=options, model=str(model), strategies=["full"])
    (stage,) = asked.plan(catalog).arms[0].runs[0].stages
    assert stage.task.name == task
    assert next(iter(File(**stage.dataset.params, **stage.dataset.location).read().splits.values()))


def test_nothing_that_a_command_writes_lands_on_a_tracked_path():
    if not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout")
    written = [
        f"results/{name}"
        for name in (
            "runs/a/run.json",
            "cache/a",
            "reports/quickstart.md",
            "comparisons/a/plan.json",
            "studies/a/5-trials.json",
        )
    ]
    ignored = subprocess.run(["git", "check-ignore", *written], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ignored.stdout.split() == written
    tracked = subprocess.run(["git", "ls-files", "results/runs", "results/cache", "results/reports", "results/comparisons"], cwd=ROOT,
                             capture_output=True, text=True, check=True)  # fmt: skip
    assert not tracked.stdout
