"""Steps recorded once for each shape and replayed (`--cuda-graphs`).

A step of few runs launches thousands of small kernels, and a GPU waits for most of them; replayed, they are launched
at once. A recording works on the tensors it saw: what a step reads is copied into those of the recording, and what it
writes (parameters, moments, counts, sums) must stay in the same memory for as long as the recording lives.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from xpet.core.config import FitPlan
from xpet.core.errors import ConfigError
from xpet.training.device import Engine
from xpet.training.staging import memory_of

Replay = Callable[[], None]
"""Repeats recorded work in the memory it was recorded in."""
Record = Callable[[Callable[[], None]], Replay]
"""Records a piece of work while doing it once -> a function that repeats it in the same memory."""

MOST_SHAPES = 64
"""Shapes that are recorded at most; steps of further shapes are computed without a recording."""


class Inputs(Protocol):
    """What a step reads: tensors on the device, and what else it depends on."""

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Tensors, of any shapes, whose values are copied into those of a recording before it is replayed."""
        ...

    @property
    def key(self) -> Hashable:
        """Equal where nothing but the tensors' values differs."""
        ...


Batch = TypeVar("Batch", bound=Inputs)


class ReplayedStep(Generic[Batch]):
    """Does `work` on inputs; from the third time on that inputs of one shape come, by replaying a recording.

    The first time the work is only done, the second time it is recorded. Without `record` it is never recorded.
    """

    def __init__(self, work: Callable[[Batch], None], record: Record | None) -> None:
        self.work, self.record = work, record
        self.seen: set[Hashable] = set()
        self.recorded: dict[Hashable, tuple[Batch, Replay]] = {}

    def __call__(self, inputs: Batch) -> None:
        """Do the work on these inputs."""
        if self.record is None:
            self.work(inputs)
            return
        key = inputs.key, tuple((tensor.shape, tensor.dtype) for tensor in inputs.tensors)
        if key in self.recorded:
            recorded, replay = self.recorded[key]
            for memory, values in zip(memory_of(recorded.tensors), memory_of(inputs.tensors), strict=True):
                memory.copy_(values)
            replay()
        elif key in self.seen and len(self.recorded) < MOST_SHAPES:
            self.recorded[key] = inputs, self.record(lambda: self.work(inputs))
        else:  # the first time sets up what is set up only once, and must not be recorded
            self.seen.add(key)
            self.work(inputs)


def cuda_graphs() -> Record:
    """A `Record` that makes CUDA graphs, which share one memory pool."""
    pool = torch.cuda.graph_pool_handle()

    def record(work: Callable[[], None]) -> Replay:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):  # nothing is done while it is recorded
            work()
        graph.replay()
        return graph.replay

    return record


def check(config: FitPlan, engine: Engine, processes: int = 1) -> None:
    """Raise ConfigError when the plan wants graphs and there is no GPU, or its steps cannot be recorded.

    `processes` is how many train one stack together.
    """
    if not config.cuda_graphs:
        return
    if engine.device.type != "cuda":
        raise ConfigError("--cuda-graphs needs a GPU: expected device cuda, found cpu; leave --cuda-graphs out")
    if config.layout != "packed":  # transformers asks the device whether anything is padded
        raise ConfigError(f"--cuda-graphs needs packed captions: expected --layout packed, found {config.layout}")
    reason = "goes with small steps, not"
    if config.gradient_cache is not None:
        raise ConfigError(
            f"--cuda-graphs {reason} with --gradient-cache {config.gradient_cache}; leave one of them out"
        )
    if processes > 1:
        raise ConfigError(f"--cuda-graphs {reason} with runs spread over {processes} processes; leave it out")


def recorder_of(config: FitPlan, engine: Engine) -> Record | None:
    """How steps are recorded; None where the plan does not want it. Raises ConfigError as `check` does."""
    check(config, engine)
    return cuda_graphs() if config.cuda_graphs else None
