"""A training that is stopped at any step and goes on ends, bit for bit, as one that never was."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests import towers
from tests.training.test_stream import Assigned, runs
from xpet.core.config import FitPlan, MethodConfig, RunConfig
from xpet.core.errors import DataError, OutputError
from xpet.core.events import Event, Notice, Progress
from xpet.core.losses import ALIGNMENT_LOSSES
from xpet.methods.build import build_stack
from xpet.training import resuming
from xpet.training.checkpoint import read_checkpoint
from xpet.training.device import make_engine
from xpet.training.fit import stream
from xpet.training.progress import StepCounter
from xpet.training.queue import Queue, Run
from xpet.training.resuming import Checkpoints
from xpet.training.selection import TrainedRun
from xpet.training.setup import FitSetup

FIT = FitPlan(batch_size=5, steps=11, validate_every=3, include_start=True, dropout="model")
SLOTS = 3


LORA = MethodConfig("lora", rank=4)


class StopTraining(Exception):
    """Raised where a test stops a training."""


class Trained:
    """One training of some runs in a stack of `slots`, which `go` begins or goes on with, over and over."""

    def __init__(
        self,
        folder: Path,
        given: Sequence[Run],
        method: MethodConfig = LORA,
        fit: FitPlan = FIT,
        slots: int = SLOTS,
        dtype: torch.dtype = torch.float32,
        precision: str = "fp32",
    ) -> None:
        self.folder, self.given, self.method, self.fit, self.slots = folder, list(given), method, fit, slots
        self.dtype, self.precision = dtype, precision
        self.outcomes: dict[str, TrainedRun] = {}
        self.events: list[Event] = []
        self.steps = 0
        """Steps taken by the last `go`."""

    def go(self, most: int | None = None, lost: Sequence[str] = ()) -> Trained:
        """Train until all is done, or `most` steps of the stack were taken; outcomes but the `lost` ones are kept."""
        self.steps = 0

        def count() -> None:
            if self.steps == most:
                raise StopTraining
            self.steps += 1

        queue = Queue(self.given, self.fit)
        checkpoints = Checkpoints(
            self.folder, {run[0].label: number for number, run in enumerate(self.given)}, every=1e9, identity="base",
            is_settled=self.outcomes.__contains__, stop=count, on_event=self.events.append,
        )  # fmt: skip
        checkpoints.adopt(checkpoints.find())
        queue.leave_out(self.outcomes.keys() | checkpoints.held)
        counter = StepCounter([queue])
        for outcome in checkpoints.ended([queue]):
            self.outcomes.setdefault(outcome.config.label, outcome)
        stack = build_stack(towers.tower(self.dtype), self.method, [1])
        engine = make_engine("cpu", self.precision)
        setup = FitSetup(stack, queue, self.slots, self.fit, towers.pad, engine, checkpoints=checkpoints)
        try:
            for outcomes in stream(setup, Assigned(), self.events.append, counter):
                for outcome in outcomes:
                    if outcome.config.label not in lost:
                        self.outcomes.setdefault(outcome.config.label, outcome)
        except StopTraining:
            checkpoints.settle()
        return self


def alike(one: Trained, two: Trained) -> None:
    """Both have the same outcomes, to the last bit."""
    assert one.outcomes.keys() == two.outcomes.keys() == {run[0].label for run in one.given}
    for label, mine in one.outcomes.items():
        other = two.outcomes[label]
        assert replace(mine, state={}, seconds=0.0) == replace(other, state={}, seconds=0.0)
        assert mine.state.keys() == other.state.keys()
        for name, value in mine.state.items():
            assert torch.equal(value, other.state[name]), name


def in_float(given: Sequence[Run]) -> list[Run]:
    """The runs with their images in single precision."""
    found = []
    for config, data in given:
        assert data.image is not None
        found.append((config, replace(data, image=data.image.float(), val_image=data.val_image.float())))
    return found


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Six runs that nothing stops."""
    return Trained(tmp_path_factory.mktemp("whole"), in_float(runs(diverging=None))).go()


@pytest.fixture(scope="module")
def diverging(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The same, of which one diverges."""
    return Trained(tmp_path_factory.mktemp("diverging"), in_float(runs())).go()


@pytest.mark.parametrize("stops", [(1,), (3,), (4, 1, 2), (2,) * 20])
def test_runs_that_come_late_and_diverge(stops: Sequence[int], diverging: Trained, tmp_path: Path) -> None:
    """Six runs in three slots; one diverges, and those that wait begin in the middle."""
    assert [outcome.diverged_at is not None for outcome in diverging.outcomes.values()].count(True) == 1
    stopped = Trained(tmp_path / "stopped", in_float(runs()))
    for most in stops:
        stopped.go(most)
    alike(stopped.go(), diverging)


METHODS = {
    **{name: config for name, config in towers.METHOD_CONFIGS.items() if name != "full"},
    "embeddings": MethodConfig("lora", rank=4, train=("embeddings",), embedding_rank=4),
}


@pytest.mark.parametrize("name", METHODS)
def test_every_method(name: str, tmp_path: Path) -> None:
    given = in_float(runs(diverging=None)[:4])
    whole = Trained(tmp_path / "whole", given, METHODS[name]).go()
    alike(Trained(tmp_path / "stopped", given, METHODS[name]).go(7).go(6).go(), whole)


def test_the_whole_tower(tmp_path: Path) -> None:
    given, method = in_float(runs(diverging=None)[:1]), towers.METHOD_CONFIGS["full"]
    whole = Trained(tmp_path / "whole", given, method, slots=1).go()
    stopped = Trained(tmp_path / "stopped", given, method, slots=1).go(5)
    assert files(tmp_path / "stopped") == {"stack-0000.safetensors"}
    assert len(read_checkpoint(tmp_path / "stopped" / "stack-0000.safetensors").tensors) > 40
    alike(stopped.go(2).go(), whole)


@pytest.mark.parametrize("change", [
    {"dropout": "off"}, {"layout": "padded"}, {"include_start": False, "validate_every": 100},
    {"select": "r1", "latest_tie_wins": True}, {"select": "mrr"},
])  # fmt: skip
def test_every_way_to_train(change: dict, tmp_path: Path) -> None:
    given, fit = in_float(runs(diverging=None)[:4]), replace(FIT, **change)
    whole = Trained(tmp_path / "whole", given, fit=fit).go()
    alike(Trained(tmp_path / "stopped", given, fit=fit).go(8).go(), whole)


def test_weights_in_bf16_and_in_double_precision(tmp_path: Path) -> None:
    given = runs(diverging=None)[:4]
    for name, runs_given, dtype, precision in (
        ("bf16", in_float(given), torch.float32, "bf16"), ("double", given, torch.float64, "fp32"),
    ):  # fmt: skip
        whole = Trained(tmp_path / name, runs_given, dtype=dtype, precision=precision).go()
        stopped = Trained(tmp_path / f"{name}-stopped", runs_given, dtype=dtype, precision=precision).go(5)
        alike(stopped.go(), whole)


def test_every_loss_and_captions_of_images_apart(tmp_path: Path) -> None:
    given = [
        (RunConfig("de", "routine1", loss, 0.5, 1e-3, seed=seed), towers.run_data(seed))
        for seed, loss in enumerate([*ALIGNMENT_LOSSES, "mse+0.1*contrastive"])
    ]
    apart = [
        (replace(config, routine="text", loss="cosine"), replace(
            data, anchor=None, anchor_features=torch.randn(14, towers.DIMENSIONS), only_full_batches=True,
            image_captions=towers.texts(7, 9), image=data.image[:7],
        ))
        for config, data in given[:2] if data.image is not None
    ]  # fmt: skip
    for name, each in (("losses", in_float(given)), ("apart", in_float(apart))):
        whole = Trained(tmp_path / name, each).go()
        alike(Trained(tmp_path / f"{name}-stopped", each).go(6).go(3).go(), whole)


def test_what_left_its_stack_and_was_not_written_is_kept(whole: Trained, tmp_path: Path) -> None:
    given = in_float(runs(diverging=None))
    labels = [run[0].label for run in given]
    stopped = Trained(tmp_path / "stopped", given).go(13, lost=labels[:3])
    assert files(tmp_path / "stopped") == {"stack-0000.safetensors", *(f"run-000{n}.safetensors" for n in range(3))}
    assert stopped.outcomes == {}
    again = stopped.go()
    assert again.steps == whole.steps - 13  # nothing is trained twice
    alike(again, whole)


def test_a_file_goes_when_nobody_needs_it_any_more(tmp_path: Path) -> None:
    given = in_float(runs(diverging=None)[:3])
    settled: set[str] = set()
    labels = [run[0].label for run in given]
    checkpoints = Checkpoints(
        tmp_path, {label: number for number, label in enumerate(labels)}, is_settled=settled.__contains__
    )
    ended = [TrainedRun(run[0], number, {"a": torch.ones(2)}) for number, run in enumerate(given)]
    checkpoints.note_ended(ended)
    assert checkpoints.settle()
    assert files(tmp_path) == {f"run-000{number}.safetensors" for number in range(3)}
    settled.update(labels[:2])
    assert checkpoints.settle()
    assert files(tmp_path) == {"run-0002.safetensors"}


def test_finished_runs_go_along_so_that_the_others_stay_as_they_are(whole: Trained, tmp_path: Path) -> None:
    """A stack whose checkpoint is older than the end of some of its runs."""
    given = in_float(runs(diverging=None))
    stopped = Trained(tmp_path / "stopped", given).go(5)
    label = given[0][0].label
    stopped.outcomes[label] = whole.outcomes[label]
    alike(stopped.go(), whole)


def test_progress_and_seconds_go_on(tmp_path: Path) -> None:
    stopped = Trained(tmp_path, in_float(runs(diverging=None))).go(10)
    before = {run.label: run.seconds for run in read_checkpoint(tmp_path / "stack-0000.safetensors").runs}
    assert all(seconds > 0 for seconds in before.values())
    stopped.events.clear()
    stopped.go()
    told = [event.done for event in stopped.events if isinstance(event, Progress)]
    assert told[0] >= 3 * 10
    assert told[-1] == 6 * 11
    assert all(stopped.outcomes[label].seconds > seconds for label, seconds in before.items())


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5000] ^= 4
    path.write_bytes(content)


def flip_document(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'began\\": 0', b'began\\": 1', 1))


DAMAGES: list[Callable[[Path], object]] = [cut, flip, flip_document, lambda path: path.write_bytes(b"")]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_told_and_its_runs_begin_anew(
    damage: Callable[[Path], object], whole: Trained, tmp_path: Path
) -> None:
    given = in_float(runs(diverging=None))
    stopped = Trained(tmp_path / "stopped", given).go(5)
    file = tmp_path / "stopped" / "stack-0000.safetensors"
    damage(file)
    with pytest.raises(DataError, match="expected a checkpoint, found a damaged one"):
        read_checkpoint(file)
    alike(stopped.go(), whole)
    (notice,) = [event for event in stopped.events if isinstance(event, Notice)]
    assert notice.text.startswith(f"{file}: expected a checkpoint, found a damaged one (")
    assert notice.text.endswith("); its runs start again from their first step")


def test_other_data_begin_anew(tmp_path: Path) -> None:
    given = in_float(runs(diverging=None)[:3])
    other = [(config, replace(data, val_text=data.val_text[::-1])) for config, data in given]
    whole = Trained(tmp_path / "whole", other).go()
    stopped = Trained(tmp_path / "stopped", given).go(5)
    stopped.given = other
    alike(stopped.go(), whole)
    (notice,) = [event for event in stopped.events if isinstance(event, Notice)]
    assert "was made with other captions or pictures; its runs start again" in notice.text
    assert files(tmp_path / "stopped") == set()


def test_a_failing_step_is_as_if_it_had_not_begun(
    whole: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = in_float(runs(diverging=None))
    stopped, engine, calls = Trained(tmp_path / "stopped", given), type(make_engine("cpu")), []

    def backward(self: object, loss: torch.Tensor) -> None:
        calls.append(loss)
        if len(calls) == 6:
            raise RuntimeError("a peer is lost")
        loss.backward()

    with monkeypatch.context() as patch:
        patch.setattr(engine, "backward", backward)
        with pytest.raises(RuntimeError, match="a peer is lost"):
            stopped.go()
    assert read_checkpoint(tmp_path / "stopped" / "stack-0000.safetensors").step == 5
    alike(stopped.go(), whole)


def test_a_step_that_was_half_done_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = in_float(runs(diverging=None)[:3])
    stopped = Trained(tmp_path, given).go(4)
    before = (tmp_path / "stack-0000.safetensors").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("xpet.training.optimiser.StackedAdam.step", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            stopped.go()
    assert (tmp_path / "stack-0000.safetensors").read_bytes() == before


def test_a_disk_that_refuses_is_warned_of_and_the_last_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = in_float(runs(diverging=None)[:3])
    whole = Trained(tmp_path / "whole", given).go()
    stopped = Trained(tmp_path / "stopped", given).go(4)

    def refuse(path: Path, checkpoint: object) -> None:
        raise OutputError(f"cannot write {path}: No space left on device; free space")

    with monkeypatch.context() as patch:
        patch.setattr(resuming, "write_checkpoint", refuse)
        stopped.go(3)
    (notice,) = [event for event in stopped.events if isinstance(event, Notice)]
    assert notice == Notice(
        f"no checkpoint now: cannot write {tmp_path / 'stopped' / 'stack-0000.safetensors'}: No space left on device; "
        "free space", "warning",
    )  # fmt: skip
    assert read_checkpoint(tmp_path / "stopped" / "stack-0000.safetensors").step == 4
    alike(stopped.go(), whole)


@pytest.mark.parametrize(("every", "seconds", "steps"), [(0.0, 0.0, 11), (4.0, 0.0, 2), (1e9, 0.0, 0), (1.0, 0.05, 2)])
def test_how_often(every: float, seconds: float, steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step takes a second here; writing that takes 0.05 s is done every fifth step at most."""
    clock, written = [0.0], []

    def write(path: Path, checkpoint: object) -> None:
        clock[0] += seconds
        written.append(path)

    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(resuming, "write_checkpoint", write)

    def tick() -> None:
        clock[0] += 1.0

    given = in_float(runs(diverging=None)[:3])
    queue = Queue(given, FIT)
    checkpoints = Checkpoints(tmp_path, {run[0].label: n for n, run in enumerate(given)}, every=every, stop=tick)
    stack = build_stack(towers.tower(torch.float32), MethodConfig("lora"), [1])
    setup = FitSetup(stack, queue, 3, FIT, towers.pad, make_engine("cpu"), checkpoints=checkpoints)
    assert sum(len(outcomes) for outcomes in stream(setup, Assigned())) == 3
    assert len(written) == min(steps, 10)  # none after the last step
