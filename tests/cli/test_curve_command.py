"""`harness report --curve` on real stored runs of a tiny model."""

import pytest
from typer.testing import CliRunner

from harness.analysis.curve import Point
from harness.cli.app import app
from harness.cli.curve import _print_plot
from harness.errors import HarnessError
from harness.testing import ToyDataset


def run(*arguments):
    found = CliRunner().invoke(app, [*map(str, arguments)])
    return found.stdout + found.stderr, found.exception


@pytest.fixture(scope="module")
def asked(tmp_path_factory, tiny_model):
    folder = tmp_path_factory.mktemp("curve")
    ToyDataset(rows=60).read().splits["train"].to_pandas().to_csv(folder / "reviews.csv", index=False)
    arguments = [
        folder / "reviews.csv", "-m", tiny_model, "-s", "full,frozen", "--seeds", "0,1", "-w", "none",
        "-o", "train.epochs=2", "-o", "train.max_length=24", "--results", folder / "results",
    ]  # fmt: skip
    text, error = run("compare", *arguments, "--in-process", "--cpu")
    assert error is None, text
    return arguments


def test_a_curve_is_a_table_a_plot_and_an_image(asked):
    text, error = run("report", *asked, "--curve", "--price", "1/h")
    assert error is None, text
    assert "tuning time [s]" in text
    assert "money" in text
    assert "\x1b" not in text
    image = next((asked[-1] / "reports").glob("*-curve.svg"))
    assert "validation accuracy" in image.read_text(encoding="utf-8")
    before = image.read_bytes()
    run("report", *asked, "--curve")
    assert image.read_bytes() == before


@pytest.mark.parametrize("more", [["--matrix"], ["--format", "csv"]])
def test_a_curve_has_no_other_form(asked, more):
    _, error = run("report", *asked, "--curve", *more)
    assert isinstance(error, HarnessError)
    assert "--curve cannot be used with" in str(error)


def test_without_a_curve_there_is_nothing_to_draw(asked, tmp_path):
    arguments = [*asked[:-1], tmp_path / "empty"]
    (tmp_path / "empty").mkdir()
    _, error = run("report", *arguments, "--curve")
    assert isinstance(error, HarnessError)
    assert "no finished run has a curve" in str(error)


def test_every_arm_of_many_is_in_the_plot_with_a_mark_of_its_own(capsys):
    curves = {f"arm {number}": [[Point(1, 1, 0.5), Point(2, 2, 0.5 + number / 50)]] for number in range(12)}
    _print_plot(curves, "accuracy", 1.0)
    legend = capsys.readouterr().out.strip().splitlines()[-1].split(", ")
    assert [entry.split(" ", 1)[1] for entry in legend] == list(curves)
    assert len({entry[0] for entry in legend}) == 12
