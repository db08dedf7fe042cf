"""Runs on the standard library's process pool: what an executor outside the project looks like."""

from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context

import harness


class Pool(harness.Executor):
    """Fresh processes of a pool; each computes one run after another."""

    name = "pool"

    workers: int = 2

    def run(self, jobs, host):
        del host  # a pool says nothing before a job is done, so nothing is shown on the way and no trial is cut short
        with ProcessPoolExecutor(self.workers, mp_context=get_context("spawn")) as pool:
            under_way = {self.begin(pool, job): job for job in islice(jobs, self.workers)}
            while under_way:
                done, _ = wait(under_way, return_when=FIRST_COMPLETED)
                for future in done:
                    job = under_way.pop(future)
                    yield job, self.result(future, job)
                    under_way |= {self.begin(pool, job): job for job in islice(jobs, 1)}

    def begin(self, pool: ProcessPoolExecutor, job: harness.Job) -> Future:
        return pool.submit(harness.compute, job, None, harness.Place(side_by_side=self.workers, cpu=True))

    def result(self, future: Future, job: harness.Job) -> harness.Outcome | harness.Failure:
        try:
            return future.result()
        except BrokenProcessPool as error:
            return harness.Failure(run_id=job.run.id, status="lost", reason=str(error))


@harness.hookimpl
def harness_executors():
    return [Pool]
