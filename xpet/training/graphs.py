"""Work recorded once for each shape and replayed (`--cuda-graphs`): training steps and validations.

A step of few runs launches thousands of small kernels, and a GPU waits for most of them; replayed, they are launched
at once. A recording works on the tensors it saw: what a step reads is copied into those of the recording, and what it
writes (parameters, moments, counts, sums) must stay in the same memory for as long as the recording lives.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from xpet.core.config import FitPlan
from xpet.core.errors import ConfigError, one_line
from xpet.core.events import Notice, OnEvent, ignore
from xpet.training.device import Engine
from xpet.training.staging import memory_of

Replay = Callable[[], None]
"""Repeats recorded work in the memory it was recorded in."""
Record = Callable[[Callable[[], None]], Replay]
"""Records a piece of work while doing it once -> a function that repeats it in the same memory."""
State = Callable[[], tuple[Sequence[Tensor], Sequence[Tensor]]]
"""-> all tensors, of any shapes, that a piece of work changes, and those of them that tell whether it did its work."""

MOST_SHAPES = 64
"""Shapes that are recorded at most; steps of further shapes are computed without a recording."""
SHARE_OF_FREE = 0.5
"""Share of the memory free without them that recordings may hold: steps that are not recorded need as much again."""
CHECKED_BYTES = 1 << 30
"""State, in bytes, up to which the first replay is compared with the same work done plainly; it is copied twice."""
TRIES = 2
"""Recordings that may fail before no more are tried: what another thread does at that moment can be the reason."""
_broken: list[str] = []
"""Why recording failed in this process; it is not tried again."""
TOLERANCE = 0.05
"""Relative difference (of norms) beyond which a replay is wrong: that of rounding in bf16 stays far below."""


class Inputs(Protocol):
    """What work reads: tensors on the device, and what else it depends on."""

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Tensors, of any shapes, whose values are copied into those of a recording before it is replayed."""
        ...

    @property
    def key(self) -> Hashable:
        """Equal where nothing but the tensors' values differs."""
        ...


Batch = TypeVar("Batch", bound=Inputs)


class Recordings:
    """The recordings of one session: what they hold, what they may hold, and whether any are made at all.

    Where recording fails again, one notice is given, and from then on everything is computed without. `make` makes a
    `Record` with memory of its own; None: nothing is recorded.
    """

    def __init__(self, make: Callable[[], Record] | None = None, on_event: OnEvent = ignore) -> None:
        self._make, self._on_event = make, on_event
        self._has_told, self._failures = False, 0
        self.begin()

    def begin(self) -> None:
        """Forget what was recorded; its memory is free for others, and new recordings get new memory.

        A pool that all recordings have left cannot be used again (torch asserts it).
        """
        self._record = self._make() if self._make is not None else None
        self.count = self.held = self._growth = 0
        self._is_full = False

    @property
    def is_on(self) -> bool:
        """Whether work is recorded and recordings replayed."""
        return self._record is not None

    @property
    def is_taking(self) -> bool:
        """Whether more may be recorded."""
        return self.is_on and not self._is_full and self.count < MOST_SHAPES

    @property
    def note(self) -> str:
        """How many there are and what they hold, for reports; empty where there are none."""
        return f", {self.count} recorded in {_mebibytes(self.held)}" if self.count else ""

    def take(self, work: Callable[[], None]) -> Replay | None:
        """Do a piece of work and record it; None where it is neither done nor recorded."""
        if self._record is None or not self.is_taking:
            return None
        before = device_memory()
        if self.held + self._growth > SHARE_OF_FREE * before.idle:
            self._fill_up()
            return None
        try:
            replay = self._record(work)
        except torch.OutOfMemoryError:
            self._fill_up()
            return None
        except Exception as error:
            if not self.count:
                self.begin()  # in other memory: a pool without recordings cannot be used again
            self._failures += 1
            if self._failures == TRIES:
                self.give_up(one_line(error, first_only=True), for_good=True)
            return None
        self._count(before, device_memory())
        return replay

    def give_up(self, reason: str, for_good: bool = False) -> None:
        """Record and replay nothing any more, and say why; `for_good`: nor in the next sessions of this process."""
        if for_good:
            _broken.append(reason)
        self._make = self._record = None
        self.count = self.held = 0
        self._on_event(Notice(f"steps are computed one by one, not recorded: {reason}", "warning"))

    def _count(self, before: DeviceMemory, after: DeviceMemory) -> None:
        """Count a recording, given the memory before and after it."""
        growth = max(0, after.reserved - before.reserved)
        self.held += growth
        self._growth = growth if self.count else 0  # the first needs what all others use again
        self.count += 1
        if self.held > SHARE_OF_FREE * after.idle:  # a step without needs about as much
            left = _mebibytes(after.idle - self.held)
            self.give_up(f"recordings hold {_mebibytes(self.held)}, more than the {left} that are left")

    def _fill_up(self) -> None:
        """Make no more recordings, and say so once; those that there are stay."""
        self._is_full = True
        if self._has_told:
            return
        self._has_told = True
        held = f"the {self.count} that are hold {_mebibytes(self.held)}"
        self._on_event(Notice(f"steps of further shapes are not recorded: {held}, and there is no room for more"))


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"


class ReplayedStep(Generic[Batch]):
    """Does `work` on inputs; from the third time on that inputs of one shape come, by replaying a recording.

    The first time the work is only done, the second time it is recorded: kernels, plans and handles are made when a
    shape is first met, which a recording does not survive. The first replay is compared with the work done plainly from
    the same state, where that is small enough; `state` is None from then on.
    """

    def __init__(self, work: Callable[[Batch], None], recordings: Recordings, state: State | None = None) -> None:
        self.work, self.recordings, self.state = work, recordings, state
        self.seen: set[Hashable] = set()
        self.recorded: dict[Hashable, tuple[Batch, Replay]] = {}

    def is_plain(self, inputs: Batch) -> bool:
        """Whether the work on these inputs will just be done, neither recorded nor replayed."""
        key, recordings = _key(inputs), self.recordings
        return not recordings.is_on or (key not in self.recorded and not (recordings.is_taking and key in self.seen))

    def __call__(self, inputs: Batch) -> None:
        """Do the work on these inputs."""
        if not self.recordings.is_on:
            self.recorded.clear()
            self.work(inputs)
            return
        key = _key(inputs)
        if key in self.recorded:
            recorded, replay = self.recorded[key]
            for memory, values in zip(memory_of(recorded.tensors), memory_of(inputs.tensors), strict=True):
                memory.copy_(values)
            replay() if self.state is None else self._first(self.state, replay, inputs)
        elif key in self.seen and (replayed := self.recordings.take(lambda: self.work(inputs))) is not None:
            self.recorded[key] = inputs, replayed
        else:
            self.work(inputs)
            self.seen.add(key)

    @torch.no_grad()
    def _first(self, state: State, replay: Replay, inputs: Batch) -> None:
        """Replay and do the work plainly, from the same state; the state is then that of the plain work."""
        changed, compared = state()
        self.state = None
        if sum(tensor.nbytes for tensor in changed) > CHECKED_BYTES:
            replay()
            return
        before = [tensor.detach().clone() for tensor in changed]
        replay()
        replayed = [tensor.detach().clone() for tensor in compared]
        for tensor, values in zip(changed, before, strict=True):
            tensor.copy_(values)
        with torch.enable_grad():
            self.work(inputs)
        if not all(map(_alike, replayed, compared)):
            self.recordings.give_up("a replayed step gave other numbers than a plain one", for_good=True)


def _key(inputs: Inputs) -> Hashable:
    """Equal where one recording is good for both."""
    return inputs.key, tuple((tensor.shape, tensor.dtype) for tensor in inputs.tensors)


def _alike(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors of one shape differ by rounding at most; what is not finite counts as zero."""
    one, other = (tensor.detach().double().nan_to_num(0.0, 0.0, 0.0) for tensor in (one, other))
    return bool((one - other).norm() <= TOLERANCE * other.norm() + 1e-12)


@dataclass(frozen=True)
class DeviceMemory:
    """Bytes of a GPU that PyTorch has reserved, recordings included, and that no tensor lies in, reserved or not."""

    reserved: int
    idle: int


def device_memory() -> DeviceMemory:
    """The memory of the present GPU; without one there is no limit."""
    if not torch.cuda.is_available():
        return DeviceMemory(0, sys.maxsize)
    reserved = torch.cuda.memory_reserved()
    return DeviceMemory(reserved, torch.cuda.mem_get_info()[0] + reserved - torch.cuda.memory_allocated())


def cuda_graphs() -> Record:
    """A `Record` that makes CUDA graphs, which share one memory pool and one stream.

    torch's context manager `torch.cuda.graph` has the device idle and all cached memory given back before every
    recording; here that is done only where memory is short. What other threads do meanwhile ends no recording.
    """
    pool, stream = torch.cuda.graph_pool_handle(), _recording_stream(torch.cuda.current_device())

    def record(work: Callable[[], None]) -> Replay:
        cached = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        if torch.cuda.mem_get_info()[0] < cached:  # about what a step needs; while recording nothing is given back
            torch.cuda.empty_cache()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.stream(stream), _nothing_collected(), _cleared_up(pool):
            graph.capture_begin(pool=pool, capture_error_mode="thread_local")
            try:
                work()  # nothing is done while it is recorded
            except BaseException:
                with suppress(RuntimeError):
                    graph.capture_end()
                raise
            graph.capture_end()
        graph.replay()
        return graph.replay  # type: ignore[no-any-return]

    return record


@cache
def _recording_stream(device: int) -> torch.cuda.Stream:
    """The stream that a GPU's work is recorded on, of the highest priority.

    PyTorch has 32 streams of each priority, and hands out the first again after the last. This one is never that of
    another thread, whose work would be recorded, too.
    """
    return torch.cuda.Stream(device, priority=-1)  # type: ignore[no-untyped-call, no-any-return]


@contextmanager
def _cleared_up(pool: tuple[int, int]) -> Iterator[None]:
    """Where recording fails in the block, let torch's allocator know that it is over.

    A recording that CUDA ends with an error leaves it recording for good (torch 2.6 to 2.13): no cached memory would be
    given back any more, and nothing could be recorded in this pool. And its generator of random numbers would refuse to
    draw (before torch 2.13), until something is recorded that does not fail.
    """
    try:
        yield
    except BaseException:
        for name in ("_cuda_endAllocateToPool", "_cuda_endAllocateCurrentStreamToPool"):  # of torch 2.8 and before
            with suppress(AttributeError, RuntimeError):  # also where the end did all that was to be done
                getattr(torch._C, name)(torch.cuda.current_device(), pool)
                torch._C._cuda_releasePool(torch.cuda.current_device(), pool)
        with suppress(RuntimeError):
            _record_little()
        raise


def _record_little() -> None:
    """Record next to nothing, in memory of its own, on the present stream."""
    place, graph = torch.empty(1, device="cuda"), torch.cuda.CUDAGraph()
    graph.capture_begin(capture_error_mode="thread_local")
    try:
        place.zero_()
    finally:
        graph.capture_end()


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Keep Python from collecting garbage for the block: what lies on a GPU may wait for it when it goes."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def check(config: FitPlan, engine: Engine, processes: int = 1) -> None:
    """Raise ConfigError when the plan insists on graphs and there is no GPU, or its steps cannot be recorded.

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


def are_wanted(config: FitPlan, engine: Engine, processes: int = 1) -> bool:
    """Whether a plan's steps are recorded: where it says so, and where it is left to us and possible."""
    if config.cuda_graphs is not None:
        return config.cuda_graphs
    alone = engine.device.type == "cuda" and config.layout == "packed" and processes == 1
    return alone and config.gradient_cache is None and not config.compile


def recordings_of(config: FitPlan, engine: Engine, processes: int = 1, on_event: OnEvent = ignore) -> Recordings:
    """The recordings of a session: none where they are not wanted, or left to us and impossible, or failed before.

    Raises ConfigError as `check` does.
    """
    check(config, engine, processes)
    wanted = are_wanted(config, engine, processes) and not _broken
    return Recordings(cuda_graphs if wanted else None, on_event)
