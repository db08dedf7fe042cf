"""Computation of one job in this process: a run, or this process's share of it."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import shutil
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import accelerate
import torch

from harness.catalog import Catalog
from harness.engine.cache import Cache
from harness.engine.checkpoint import Checkpoints, Curve, listen
from harness.engine.compat import reset_accelerate
from harness.engine.execute import execute
from harness.engine.memory import ran_out
from harness.errors import HarnessError, PrunedError
from harness.processes import is_busy
from harness.records import Failure, Job, LogLevel, Outcome, Place, Run
from harness.store import WORKER_LOG, Store

Tell = Callable[[dict[str, Any]], None]


@functools.cache
def prepare_process() -> None:
    """Configure a process that only computes jobs."""
    import transformers
    from tqdm import tqdm

    # Tokens are cached; tokenizer threads would only cause warnings about forked processes.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Hide warnings of torch's C++ code, such as that searching for unused parameters costs time: the search is needed.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    # Deprecations of transformers raised inside peft; users cannot fix them.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers\..*")
    # Loading a base model under a new head always reports that the head is new.
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    # tqdm's default lock is shared between processes and leaks when a process is killed.
    tqdm.set_lock(threading.RLock())


@contextlib.contextmanager
def output_to(path: Path) -> Iterator[None]:
    """Append the output of this process, including C libraries, to a file; remove the file if it stays empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(number) for number in (1, 2)]
    with path.open("ab", buffering=0) as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, before in zip((1, 2), kept, strict=True):
            os.dup2(before, number)
            os.close(before)
        with contextlib.suppress(OSError):
            if not path.stat().st_size:
                path.unlink()


def work(job: Job, catalog: Catalog, tell: Tell, place: Place) -> Outcome | Failure:
    """Compute a job in a dedicated process; its output goes to the run's `worker.log`."""
    prepare_process()
    listen()
    if job.base is not None and job.base.is_dir():  # another machine may lack it: then what is missing is named
        os.chdir(job.base)
    with output_to(Store(job.results).folder(job.run) / WORKER_LOG):
        return perform(job, catalog, tell, place)


def _log(level: LogLevel) -> None:
    """Log the messages of libraries on standard error, from this level on."""
    import transformers

    number = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(level=number, format="%(levelname)s %(name)s: %(message)s")
    transformers.logging.set_verbosity(number)


def perform(job: Job, catalog: Catalog, log: Tell, place: Place = Place()) -> Outcome | Failure:  # noqa: B008 - Place is frozen
    """Compute a job, store its result and return it."""
    store = Store(job.results)
    if job.log_level != "error":
        _log(job.log_level)
    if place.rank != 0:
        return _perform_share(job, catalog, store, log, place, _checkpoints(job, store))
    with store.attempt(job.run) as folder:
        # Another command may have finished the run while this one waited for the folder.
        outcome = store.outcome(job.run)
        if outcome is not None and job.deliver is None and (not job.keep_model or (folder / "model").exists()):
            return outcome
        # A finished run that is computed again only for its model does not change the stored results.
        path = Path(os.devnull) if outcome else folder / "log.jsonl"
        interrupted = path.stat().st_mtime if path.is_file() else None
        curve = Curve(path)

        def write(event: dict[str, Any]) -> None:
            if not {"loss", "validation", "ended"}.isdisjoint(event):
                curve.write(event)
            log(event)

        checkpoints = _checkpoints(job, store, curve, interrupted)
        try:
            result = _perform_share(job, catalog, store, write, place, checkpoints)
            # One of several processes fails if another is lost; then the run goes on from here.
            if isinstance(result, Outcome) or place.processes == 1:
                checkpoints.forget()
        finally:
            curve.close()
    if isinstance(result, Failure):
        store.fail(job.run, result)
    return result


def _checkpoints(job: Job, store: Store, curve: Curve | None = None, interrupted: float | None = None) -> Checkpoints:
    """Return the checkpoints of a job's run; a trial has none."""
    folder = None if job.run.trial else store.folder(job.run) / "checkpoint"
    return Checkpoints(folder, curve, job.checkpoint_seconds, interrupted)


def _perform_share(
    job: Job, catalog: Catalog, store: Store, log: Tell, place: Place, checkpoints: Checkpoints
) -> Outcome | Failure:
    # Write to a sibling folder, then rename: the target is complete or absent, and relative paths to the base stay valid.
    target = job.deliver or (store.folder(job.run) / "model" if job.keep_model else None)
    temporary = target and target.parent / f".{target.name}-{place.rank}"
    if temporary:
        shutil.rmtree(temporary, ignore_errors=True)  # left by a killed attempt
    try:
        accelerator = _accelerator(job.run, place)
        busy = place.side_by_side == 1 and place.processes == 1 and is_busy()
        cache = Cache(store.cache)
        finished = execute(job.run, catalog, accelerator, cache, temporary, log, place=place, checkpoints=checkpoints)
        outcome = finished.outcome.model_copy(update={"busy": busy})
        if place.rank == 0:
            if target and temporary:
                temporary.rename(target)
            if store.outcome(job.run) is None:
                store.finish(job.run, outcome, finished.predictions)
    except HarnessError as error:
        return Failure(run_id=job.run.id, status="failed", reason=str(error))
    except PrunedError as error:
        return Failure(run_id=job.run.id, status="pruned", reason=str(error))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - an error in one run must not end the experiment
        status = "out of memory" if ran_out(error) else "failed"
        return Failure(run_id=job.run.id, status=status, reason=_one_line(error), trace=traceback.format_exc())
    finally:
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)
    return outcome


def _accelerator(run: Run, place: Place) -> accelerate.Accelerator:
    """Return an accelerator for the run's device and processes.

    Raises:
        HarnessError: There are fewer GPUs than processes.
        RuntimeError: The number of started processes is not the requested one.
    """
    if place.processes > 1:
        os.environ.update(
            RANK=str(place.rank),
            LOCAL_RANK=str(place.rank),
            WORLD_SIZE=str(place.processes),
            LOCAL_WORLD_SIZE=str(place.processes),
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=str(place.port),
        )
    cpu = place.cpu or not torch.cuda.is_available()
    if not cpu and place.processes > (devices := torch.cuda.device_count()):
        message = f"{place.processes} processes per run need as many GPUs, but {devices} can be used here"
        raise HarnessError(message)
    if cpu:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        share = max(1, cores // (place.processes * place.side_by_side))
        torch.set_num_threads(int(os.environ.setdefault("OMP_NUM_THREADS", str(share))))
    elif place.side_by_side > 1:
        device = (place.slot * place.processes + place.rank) % torch.cuda.device_count()
        os.environ["ACCELERATE_TORCH_DEVICE"] = f"cuda:{device}"
    precision = {"fp32": "no"}.get(run.train.precision, run.train.precision)
    # Consecutive runs in one process must not inherit the precision of an earlier run.
    reset_accelerate()
    accelerator = accelerate.Accelerator(
        cpu=cpu,
        mixed_precision=precision,
        # Heads of other problems and unused body parts get no gradient.
        kwargs_handlers=[accelerate.DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    if accelerator.num_processes != place.processes:
        message = f"{place.processes} processes were requested, but {accelerator.num_processes} started"
        raise RuntimeError(message)
    return accelerator


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
