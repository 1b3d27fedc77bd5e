"""Settings of the whole process that a model needs while it computes, undone whenever it does not."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, TypeVar

import joblib
import torch

if TYPE_CHECKING:
    from valstab.engines.huggingface.compiled import Replacement

Result = TypeVar("Result")


QUIET_LOGGERS = ("bitsandbytes", "transformers")
"""Loggers of which only errors are shown: bitsandbytes warns of every product that 8 bits round."""


class ProcessSettings:
    """Threads, attention kernels, compiled functions and log levels for one model."""

    def __init__(self) -> None:
        self.replacements: Sequence[Replacement] = ()
        # The physical cores of this process, not of the machine. OMP_NUM_THREADS wins.
        self._max_threads = None if "OMP_NUM_THREADS" in os.environ else joblib.cpu_count(only_physical_cores=True)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Apply the settings for a block."""
        with ExitStack() as undo:
            if self._max_threads is not None:
                threads = torch.get_num_threads()
                undo.callback(torch.set_num_threads, threads)
                torch.set_num_threads(min(threads, self._max_threads))
            # cuDNN makes a plan for each new length: while a message is generated, for each token.
            undo.callback(torch.backends.cuda.enable_cudnn_sdp, torch.backends.cuda.cudnn_sdp_enabled())  # type: ignore[no-untyped-call]
            torch.backends.cuda.enable_cudnn_sdp(False)
            for logger in map(logging.getLogger, QUIET_LOGGERS):
                undo.callback(logger.setLevel, logger.level)
                logger.setLevel(logging.ERROR)
            for module, name, function in self.replacements:
                undo.callback(setattr, module, name, getattr(module, name))
                setattr(module, name, function)
            yield

    def applied_to(self, results: Iterator[Result]) -> Iterator[Result]:
        """Yield results; the settings hold while one is computed, not while the caller uses it."""
        while True:
            with self.applied():
                try:
                    result = next(results)
                except StopIteration:
                    return
            yield result
