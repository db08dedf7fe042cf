import pytest

from harness.contracts import Executor
from harness.testing import check_executor


@pytest.mark.slow
@pytest.mark.parametrize("name", ["local", "in-process"])
def test_built_in_executors_keep_the_contract(catalog, name):
    check_executor(catalog.make(Executor, name, {"cpu": True}))


@pytest.mark.slow
def test_runs_side_by_side_and_shared_between_processes_are_the_same_runs(catalog):
    check_executor(catalog.make(Executor, "local", {"cpu": True, "side_by_side": 2}))
    check_executor(catalog.make(Executor, "local", {"cpu": True, "processes_per_run": 2}))
