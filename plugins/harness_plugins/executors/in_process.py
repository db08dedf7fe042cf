"""Executes runs in the command's own process."""

from collections.abc import Iterator

from pydantic import Field

import harness


class InProcess(harness.Executor):
    """In this process, one run after another: for debuggers, notebooks that define strategies, and tests."""

    name = "in-process"
    here = True

    cpu: bool = Field(False, description="use the CPU only")

    def run(
        self, jobs: Iterator[harness.Job], host: harness.Host
    ) -> Iterator[tuple[harness.Job, harness.Outcome | harness.Failure]]:
        """Compute the jobs one after another; peak memory is that of the whole process."""
        for job in jobs:
            yield job, host.compute(job, cpu=self.cpu)


@harness.hookimpl
def harness_executors() -> list[type[harness.Executor]]:
    """Register the executor."""
    return [InProcess]
