"""What may import what, and what must stay light."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_imports_run_one_way():
    from importlinter.cli import lint_imports

    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["list"], ["describe", "strategy", "lora"], ["plan", "experiments/quickstart.toml"]],
    ids=" ".join,
)
def test_a_command_that_computes_nothing_imports_no_torch(arguments):
    code = (
        "import sys; sys.argv = ['harness', *sys.argv[1:]]\n"
        "import atexit; atexit.register(lambda: sys.stderr.write(f\"torch: {'torch' in sys.modules}\"))\n"
        "from harness.cli.app import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith("torch: False")


def test_importtime_of_help_shows_no_torch():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "harness.cli", "--help"], capture_output=True, text=True, check=True
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "harness.catalog" in imported
    assert not {name for name in imported if name.partition(".")[0] in {"torch", "transformers", "peft", "datasets"}}
