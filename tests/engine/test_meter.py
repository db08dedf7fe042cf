import mmap
import sys

import pytest
import torch

from harness.engine.energy import Energy
from harness.engine.meter import Meter, merge_phases
from harness.records import Phase


class Clock:
    """Goes forward only where a test says so."""

    wall = cpu = 0.0

    def perf_counter(self) -> float:
        return self.wall

    def process_time(self) -> float:
        return self.cpu


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("harness.engine.meter.time", clock)
    return clock


def test_a_phase_within_a_phase_is_charged_to_itself_alone(clock):
    meter = Meter(torch.device("cpu"))
    with meter.phase("tune"):
        clock.wall += 5
        with meter.phase("validate"):
            clock.wall += 20
        clock.wall += 7
    phases = meter.phases()
    assert (phases["validate"].wall_seconds, phases["tune"].wall_seconds) == (20, 12)


def test_wall_time_and_processor_time_are_told_apart(clock):
    meter = Meter(torch.device("cpu"))
    with meter.phase("tune"):
        clock.wall += 5
        clock.cpu += 2
    phase = meter.phases()["tune"]
    assert (phase.wall_seconds, phase.cpu_seconds) == (5, 2)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can start the peak of resident memory anew")
def test_the_peak_of_one_phase_is_not_that_of_the_next():
    meter = Meter(torch.device("cpu"))
    # New memory from the system, not what the allocator kept from earlier, which is resident already.
    with meter.phase("load"), mmap.mmap(-1, 320_000_000) as block:
        block[:: mmap.PAGESIZE] = bytes(len(range(0, len(block), mmap.PAGESIZE)))  # each page is touched
    with meter.phase("tune"):
        pass
    phases = meter.phases()
    assert phases["load"].peak_memory_bytes - phases["tune"].peak_memory_bytes > 250_000_000


def test_operations_are_charged_to_the_phase_they_happen_in():
    meter = Meter(torch.device("cpu"))
    with meter.phase("tune"):
        meter.add_flops(5)
        with meter.phase("validate"):
            meter.add_flops(2)
        meter.add_flops(1)
    assert {name: phase.flops for name, phase in meter.phases().items()} == {"tune": 6, "validate": 2}


def test_processes_add_up_in_device_and_cpu_time_operations_and_energy_but_not_in_wall_time_or_peaks():
    first = Phase(wall_seconds=2, cpu_seconds=1, peak_memory_bytes=10, flops=100, energy_joules=5)
    second = Phase(wall_seconds=3, cpu_seconds=1, peak_memory_bytes=None, flops=50, energy_joules=2)
    assert merge_phases([{"tune": first}, {"tune": second}]) == {
        "tune": Phase(wall_seconds=2, device_seconds=5, cpu_seconds=2, peak_memory_bytes=10, flops=150, energy_joules=7)
    }


def test_energy_that_one_process_does_not_tell_is_not_told_of_the_run():
    parts = [{"tune": Phase(energy_joules=5)}, {"tune": Phase()}]
    assert merge_phases(parts)["tune"].energy_joules is None


def test_phases_sum_to_the_time_of_the_outermost_however_often_they_change(clock):
    meter = Meter(torch.device("cpu"))
    with meter.phase("other"):
        for _ in range(200):
            clock.wall += 0.25
            with meter.phase("tune"):
                clock.wall += 0.5
    assert {name: phase.wall_seconds for name, phase in meter.phases().items()} == {"other": 50.0, "tune": 100.0}
    assert clock.wall == 150.0


def test_energy_is_charged_to_the_phase_it_is_spent_in():
    spent = 0.0
    meter = Meter(torch.device("cpu"), energy=Energy("made up", [lambda: spent]))
    with meter.phase("tune"):
        spent += 3
        with meter.phase("validate"):
            spent += 4
        spent += 1
    assert {name: phase.energy_joules for name, phase in meter.phases().items()} == {"tune": 4, "validate": 4}


def test_energy_is_not_told_without_a_counter():
    meter = Meter(torch.device("cpu"))
    with meter.phase("tune"):
        pass
    assert meter.phases()["tune"].energy_joules is None
