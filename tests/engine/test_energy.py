"""The counters are files in a folder like the one Linux shows."""

import functools
from pathlib import Path

import pytest
import torch

from harness.contracts import Strategy
from harness.engine import execute
from harness.engine.energy import Package, open_energy
from harness.testing import compute, toy_catalog, toy_run

CPU = torch.device("cpu")
RANGE = 262_143_328_850


def counter(powercap: Path, folder: str, name: str, microjoules: int = 0) -> Path:
    place = powercap / folder
    place.mkdir(parents=True)
    for file, content in (("name", name), ("energy_uj", microjoules), ("max_energy_range_uj", RANGE)):
        (place / file).write_text(f"{content}\n")
    return place / "energy_uj"


def test_the_packages_are_added_up_and_their_parts_and_the_board_are_not(tmp_path):
    first = counter(tmp_path, "intel-rapl:0", "package-0", 7_000_000)
    second = counter(tmp_path, "intel-rapl:1", "package-1")
    part = counter(tmp_path, "intel-rapl:0:0", "core")
    board = counter(tmp_path, "intel-rapl:2", "psys")
    again = counter(tmp_path, "intel-rapl-mmio:0", "package-0")
    found = open_energy(CPU, powercap=tmp_path)
    before = found.joules()
    first.write_text("9000000\n")
    second.write_text("500000\n")
    for other in (part, board, again):
        other.write_text("99000000\n")
    assert found.joules() - before == pytest.approx(2.5)
    assert found.about == "energy of 2 CPU packages (RAPL), including other processes"


def test_a_counter_that_starts_anew_goes_on_where_it_was(tmp_path):
    file = counter(tmp_path, "intel-rapl:0", "package-0", RANGE - 3_000_000)
    package = Package(file.parent)
    file.write_text("2000000\n")
    assert package.joules() == pytest.approx(5.0)
    file.write_text("4000000\n")
    assert package.joules() == pytest.approx(7.0)


def test_a_machine_without_counters_tells_no_energy_and_says_so(tmp_path):
    found = open_energy(CPU, powercap=tmp_path / "none")
    assert found.joules() is None
    assert found.about == "no energy: this machine does not report the CPU's energy (RAPL)"


def test_a_counter_that_cannot_be_read_tells_no_energy_rather_than_none_used(tmp_path):
    file = counter(tmp_path, "intel-rapl:0", "package-0")
    file.unlink()
    file.mkdir()
    found = open_energy(CPU, powercap=tmp_path)
    assert found.joules() is None
    assert found.about.startswith("no energy: the CPU's energy (RAPL) cannot be read")


def test_a_counter_that_only_root_may_read_is_told_as_that(tmp_path, monkeypatch):
    counter(tmp_path, "intel-rapl:0", "package-0")
    # Tests may be run by root, whom no mode of a file keeps out.
    monkeypatch.setattr(Package, "_read", lambda _: (_ for _ in ()).throw(PermissionError))
    assert (
        open_energy(CPU, powercap=tmp_path).about
        == "no energy: only root can read the CPU's energy (RAPL) on this machine"
    )


def test_a_counter_that_fails_later_takes_back_what_it_told(tmp_path):
    file = counter(tmp_path, "intel-rapl:0", "package-0")
    found = open_energy(CPU, powercap=tmp_path)
    assert found.joules() == 0
    file.unlink()
    assert found.joules() is None
    assert found.about.startswith("no energy: a counter failed during the run")


def test_runs_that_share_the_machine_have_no_energy_of_their_own(tmp_path):
    counter(tmp_path, "intel-rapl:0", "package-0")
    found = open_energy(CPU, alone=False, powercap=tmp_path)
    assert found.joules() is None
    assert "several runs shared the machine" in found.about


def test_what_processes_share_is_counted_by_the_first(tmp_path):
    file = counter(tmp_path, "intel-rapl:0", "package-0")
    first, second = (open_energy(CPU, first=rank == 0, powercap=tmp_path) for rank in (0, 1))
    file.write_text("6000000\n")
    assert (first.joules(), second.joules()) == (6, 0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is an accelerator that may tell")
def test_an_accelerator_that_does_not_tell_leaves_no_energy_of_the_cpu_alone(tmp_path):
    counter(tmp_path, "intel-rapl:0", "package-0")
    found = open_energy(torch.device("cuda"), powercap=tmp_path)
    assert found.joules() is None
    assert found.about.startswith("no energy: the accelerator")


def test_a_run_has_the_energy_of_its_phases(catalog, tiny_model, tmp_path, monkeypatch):
    file = counter(tmp_path, "intel-rapl:0", "package-0")
    read = Package._read

    def count_up(package: Package) -> int:
        file.write_text(str(read(package) + 1_000_000))
        return read(package)

    monkeypatch.setattr(Package, "_read", count_up)
    monkeypatch.setattr(execute, "open_energy", functools.partial(open_energy, powercap=tmp_path))
    toys = toy_catalog(catalog)
    outcome = compute(toy_run(toys, tiny_model, toys.make(Strategy, "full", {}), stages=1), toys, tmp_path / "results")
    assert outcome.phases["tune"].energy_joules > 0
    assert outcome.energy == "energy of the CPU package (RAPL), including other processes"
