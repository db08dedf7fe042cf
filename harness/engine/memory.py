"""Detection of out-of-memory errors."""

from __future__ import annotations

import torch
from accelerate.utils.memory import should_reduce_batch_size

_OF_THE_CPU = ("t allocate memory", "could not create a primitive", "could not create a memory object")
"""Messages of out-of-memory RuntimeErrors by torch and its matrix product library."""


def ran_out(error: BaseException) -> bool:
    """Return whether memory ran out, on a CPU or on an accelerator."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and (
        should_reduce_batch_size(error) or any(words in str(error) for words in _OF_THE_CPU)
    )
