"""What runs in a process of its own: one run, or one process's share of it.

Importing this module imports what every run needs, and starts nothing: the forkserver does it once, and each run's process
begins where it ends.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

# Tokenising happens once and is kept; its threads would only warn about the processes that follow.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Warnings of torch's C++ side, such as that looking for parts without a gradient costs time: it is why it is done.
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

import accelerate
import torch
import transformers
from tqdm import tqdm

from harness.catalog import Catalog, load_catalog
from harness.engine.cache import Cache
from harness.engine.execute import execute
from harness.engine.job import Job
from harness.engine.memory import ran_out
from harness.errors import HarnessError, PrunedError
from harness.records import Failure, Outcome
from harness.store import Store

# transformers' own deprecations, met inside peft; nothing a user could mend.
warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers\..*")
# Loading a base model under a new head always reports that the head is new.
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
# Its own is shared between processes, and stays behind in the system when a process is ended.
tqdm.set_lock(threading.RLock())


def work(job: Job, connection: Connection) -> None:
    """Compute a run and send `(event, None)` as it goes and `(None, result)` at its end."""
    threading.Thread(target=_die_with_parent, args=(connection,), daemon=True).start()

    def send(event: dict[str, Any]) -> None:
        if job.rank == 0:
            connection.send((event, None))

    result = perform(job, load_catalog(job.without), send)
    connection.send((None, result))
    connection.close()


def perform(job: Job, catalog: Catalog, log: Callable[[dict[str, Any]], None]) -> Outcome | Failure:
    """Compute a run in this process and store what came of it; return that."""
    store = Store(job.results)
    if job.rank != 0:
        return _perform_share(job, catalog, store, log)
    with store.attempt(job.run) as folder:
        # Another command may have finished it while this one waited for the folder.
        outcome = store.outcome(job.run)
        if outcome is not None and job.deliver is None and (not job.keep_model or (folder / "model").exists()):
            return outcome
        # A finished run that is computed again for its model alone leaves what is stored as it is. Line by line, so that the curve
        # is whole before the outcome says that all is.
        with (Path(os.devnull) if outcome else folder / "log.jsonl").open("w", buffering=1, encoding="utf-8") as curve:

            def write(event: dict[str, Any]) -> None:
                if "loss" in event or "validation" in event:
                    curve.write(json.dumps(event) + "\n")
                log(event)

            result = _perform_share(job, catalog, store, write)
    if isinstance(result, Failure):
        store.fail(job.run, result)
    return result


def _perform_share(
    job: Job, catalog: Catalog, store: Store, log: Callable[[dict[str, Any]], None]
) -> Outcome | Failure:
    # Beside its place, so that it is whole or absent there, and what it says of where its base is stays true.
    place = job.deliver or (store.folder(job.run) / "model" if job.keep_model else None)
    temporary = place and place.parent / f".{place.name}-{job.rank}"
    if temporary:
        shutil.rmtree(temporary, ignore_errors=True)  # of an attempt that was killed
    try:
        accelerator = _accelerator(job)
        alone = job.side_by_side == 1
        finished = execute(job.run, catalog, accelerator, Cache(store.cache), temporary, log, alone=alone)
        if job.rank == 0:
            if place and temporary:
                temporary.rename(place)
            if store.outcome(job.run) is None:
                store.finish(job.run, finished.outcome, finished.predictions)
    except HarnessError as error:
        return Failure(run_id=job.run.id, status="failed", reason=str(error))
    except PrunedError as error:
        return Failure(run_id=job.run.id, status="pruned", reason=str(error))
    except Exception as error:  # noqa: BLE001 - whatever ends one run must not end the experiment
        status = "out of memory" if ran_out(error) else "failed"
        return Failure(run_id=job.run.id, status=status, reason=_one_line(error), trace=traceback.format_exc())
    finally:
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)
    return finished.outcome


def _accelerator(job: Job) -> accelerate.Accelerator:
    """Return the run's device and processes.

    Raises:
        RuntimeError: Another number of processes came up than was asked for.
    """
    if job.processes > 1:
        os.environ.update(
            RANK=str(job.rank),
            LOCAL_RANK=str(job.rank),
            WORLD_SIZE=str(job.processes),
            LOCAL_WORLD_SIZE=str(job.processes),
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=str(job.port),
        )
    cpu = job.cpu or not torch.cuda.is_available()
    if cpu:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        share = max(1, cores // (job.processes * job.side_by_side))
        torch.set_num_threads(int(os.environ.setdefault("OMP_NUM_THREADS", str(share))))
    elif job.side_by_side > 1:
        device = (job.place * job.processes + job.rank) % torch.cuda.device_count()
        os.environ["ACCELERATE_TORCH_DEVICE"] = f"cuda:{device}"
    precision = {"fp32": "no"}.get(job.run.train.precision, job.run.train.precision)
    # Where runs follow one another in one process, none must inherit another's precision.
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)  # noqa: SLF001
    accelerator = accelerate.Accelerator(
        cpu=cpu,
        mixed_precision=precision,
        # Heads of other problems, and parts of the body that a head does not use, get no gradient.
        kwargs_handlers=[accelerate.DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    if accelerator.num_processes != job.processes:
        message = f"{job.processes} processes were asked for, but {accelerator.num_processes} came up"
        raise RuntimeError(message)
    return accelerator


def _die_with_parent(connection: Connection) -> None:
    """End this process when the command is gone, so that no run goes on that nobody waits for."""
    try:
        connection.recv()
    except (EOFError, OSError):
        os._exit(1)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
