import sys
import time

import numpy as np
import pytest
import torch

from harness.engine.meter import Meter, merge_phases
from harness.records import Phase


def test_a_phase_within_a_phase_is_charged_to_itself_alone():
    meter = Meter(torch.device("cpu"))
    with meter.phase("tune"):
        time.sleep(0.05)
        with meter.phase("validate"):
            time.sleep(0.2)
        time.sleep(0.05)
    phases = meter.phases()
    assert phases["validate"].wall_seconds >= 0.2
    assert 0.1 <= phases["tune"].wall_seconds < phases["validate"].wall_seconds


def test_sleeping_takes_wall_time_and_no_cpu_time():
    meter = Meter(torch.device("cpu"))
    with meter.phase("tune"):
        time.sleep(0.2)
    assert meter.phases()["tune"].cpu_seconds < meter.phases()["tune"].wall_seconds / 2


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can start the peak of resident memory anew")
def test_the_peak_of_one_phase_is_not_that_of_the_next():
    meter = Meter(torch.device("cpu"))
    with meter.phase("load"):
        np.ones(40_000_000)  # 320 MB, freed at once
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


def test_processes_add_up_in_cpu_time_and_operations_but_not_in_wall_time_or_peaks():
    first = Phase(wall_seconds=2, cpu_seconds=1, peak_memory_bytes=10, flops=100)
    second = Phase(wall_seconds=3, cpu_seconds=1, peak_memory_bytes=None, flops=50)
    assert merge_phases([{"tune": first}, {"tune": second}]) == {
        "tune": Phase(wall_seconds=3, cpu_seconds=2, peak_memory_bytes=10, flops=150)
    }
