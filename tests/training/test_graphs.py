"""Recorded steps: as a GPU replays them, in the memory they were recorded in and with nothing from the host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests import towers
from tests.training.test_stream import STACKABLE, check, runs, streamed
from xpet.core.config import FitPlan, MethodConfig, RunConfig
from xpet.core.errors import ConfigError
from xpet.methods.build import build_stack
from xpet.training import graphs
from xpet.training.device import make_engine
from xpet.training.fit import fit
from xpet.training.graphs import ReplayedStep

FIT = FitPlan(batch_size=5, steps=20, validate_every=5)
HOST = ("_local_scalar_dense", "nonzero", "is_nonzero", "item")
"""Operations that a device would have to answer."""


class Recording(TorchDispatchMode):
    """Remembers every operation with the very tensors it saw, as a CUDA graph remembers kernels and addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func.overloadpacket.__name__ not in HOST, f"{func} waits for the device"
        out = func(*args, **(kwargs or {}))
        self.done.append((func, args, kwargs or {}, out))
        return out

    def replay(self) -> None:
        with torch.no_grad():
            for func, args, kwargs, out in self.done:
                again = func(*args, **kwargs)
                mine = {leaf.untyped_storage().data_ptr() for leaf in tree_leaves((args, kwargs)) if _is_tensor(leaf)}
                for before, now in zip(tree_leaves(out), tree_leaves(again), strict=True):
                    if _is_tensor(before) and before.untyped_storage().data_ptr() not in mine:
                        before.copy_(now)  # views and what is changed in place are where they were


def _is_tensor(leaf: object) -> bool:
    return isinstance(leaf, Tensor)


class Recorder:
    """Stands for CUDA graphs; counts recordings and replays."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def __call__(self, work: Callable[[], None]) -> Callable[[], None]:
        self.recorded += 1
        with Recording() as recording:
            work()

        def replay() -> None:
            self.replayed += 1
            recording.replay()

        return replay


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    made = Recorder()
    monkeypatch.setattr(graphs, "cuda_graphs", lambda: made)
    monkeypatch.setattr(graphs, "check", lambda config, engine, processes=1: None)
    return made


@pytest.mark.parametrize(("name", "dropout"), [*((name, "off") for name in (*STACKABLE, "words")), ("lora", "model")])
def test_replayed_steps_learn_what_steps_do(name: str, dropout: str, recorder: Recorder) -> None:
    words = MethodConfig("lora", rank=4, train=("embeddings",), embedding_rank=4)
    config = {**towers.METHOD_CONFIGS, "words": words}[name]
    given, steps = runs(rows=15), replace(FIT, dropout=dropout)
    plain, _, _ = streamed(config, given, steps)
    found, _, _ = streamed(config, given, replace(steps, cuda_graphs=True))
    for mine, other in zip(found, plain, strict=True):
        assert mine.number == other.number
        check(mine, other)
    assert recorder.recorded >= 3  # the stack was exchanged, which ends what was recorded
    assert recorder.replayed > recorder.recorded


def test_frozen_anchors_and_pictures_are_read_anew(recorder: Recorder) -> None:
    data = replace(
        towers.run_data(1, rows=15), anchor=None,
        anchor_features=_Rows(torch.randn(15, towers.DIMENSIONS, dtype=torch.float64)),
        image_captions=towers.texts(15, seed=9),
    )  # fmt: skip
    run = (RunConfig("de", "text", "mse", 0.5, learning_rate=2e-3), data)
    found = []
    for wanted in (False, True):
        stack = build_stack(towers.tower(), towers.METHOD_CONFIGS["lora"], [1])
        found += fit(stack, [run], replace(FIT, cuda_graphs=wanted), towers.pad, make_engine("cpu"))
    check(found[0], found[1])
    assert recorder.replayed > 0


class _Rows:
    def __init__(self, features: Tensor) -> None:
        self.features = features

    def __getitem__(self, rows: Any, /) -> Tensor:
        return self.features[list(rows)]


@dataclass(frozen=True)
class Given:
    tensors: tuple[Tensor, ...]
    key: int = 0


def test_a_shape_is_recorded_the_second_time_and_replayed_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    total = torch.zeros(2)

    def work(given: Given) -> None:
        done.append("work")
        total.add_(given.tensors[0].sum())

    recorder = Recorder()
    steps = ReplayedStep(work, recorder)
    for value in (1.0, 2.0, 3.0, 4.0):
        steps(Given((torch.full((3,), value),)))
    assert total.tolist() == [30.0, 30.0]
    assert (len(done), recorder.recorded, recorder.replayed) == (2, 1, 2)
    for other in (Given((torch.ones(4),)), Given((torch.ones(3),), key=1), Given((torch.ones(3, dtype=torch.long),))):
        steps(other)
    assert (len(done), recorder.recorded) == (5, 1)
    monkeypatch.setattr(graphs, "MOST_SHAPES", 1)
    steps(Given((torch.ones(4),)))
    assert (len(done), recorder.recorded) == (6, 1)  # no more than so many
    plain = ReplayedStep(work, None)
    plain(Given((torch.ones(3),)))
    plain(Given((torch.ones(3),)))
    assert not plain.recorded
    assert not plain.seen


def test_what_cannot_be_recorded_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine("cpu")
    with pytest.raises(ConfigError) as error:
        graphs.check(FitPlan(cuda_graphs=True), engine)
    assert error.value.problems == (
        "--cuda-graphs needs a GPU: expected device cuda, found cpu; leave --cuda-graphs out",
    )
    monkeypatch.setattr(type(engine), "device", torch.device("cuda"))
    graphs.check(FitPlan(cuda_graphs=True), engine)
    with pytest.raises(ConfigError) as error:
        graphs.check(FitPlan(cuda_graphs=True, layout="padded"), engine)
    assert error.value.problems == ("--cuda-graphs needs packed captions: expected --layout packed, found padded",)


def test_a_padded_step_waits_for_the_device(recorder: Recorder) -> None:
    """Why it cannot be recorded: transformers asks whether anything is padded."""
    run = (RunConfig("de", "routine1", "mse", 0.5), towers.run_data(1, rows=15))
    stack = build_stack(towers.tower(), towers.METHOD_CONFIGS["lora"], [1])
    with pytest.raises(AssertionError, match="waits for the device"):
        fit(stack, [run], replace(FIT, layout="padded", cuda_graphs=True), towers.pad, make_engine("cpu"))
