"""What may import what, and what must stay light."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_imports_run_one_way():
    from importlinter.cli import lint_imports

    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == 0


def imported_by(*arguments):
    """Return the modules that a command imports."""
    code = (
        "import sys; sys.argv = ['harness', *sys.argv[1:]]\n"
        "import atexit; atexit.register(lambda: sys.stderr.write(' '.join(sys.modules)))\n"
        "from harness.cli.app import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [["describe", "strategy", "lora"], ["plan", "experiments/quickstart.toml"]], ids=" ".join
)
def test_a_command_that_computes_nothing_imports_no_torch(arguments):
    assert "torch" not in imported_by(*arguments)


def test_the_help_imports_nothing_but_the_command_line():
    imported = imported_by("--help")
    assert "harness.cli.app" in imported
    heavy = {"numpy", "pandas", "pydantic", "pluggy", "torch", "transformers", "peft", "datasets"}
    assert not {name for name in imported if name.partition(".")[0] in heavy}
    assert {name for name in imported if name.startswith("harness.")} <= {
        "harness.__main__",
        "harness.cli",
        "harness.cli.app",
        "harness.errors",
    }


def test_a_command_imports_only_its_own_module():
    imported = imported_by("list")
    assert "harness.cli.list" in imported
    assert not {"harness.cli.compare", "harness.api", "harness.experiment.plan", "torch"} & imported
