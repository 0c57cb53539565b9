"""Copies that are started and waited for later; a tensor that says it lies on a GPU stands for one."""

from __future__ import annotations

import pytest
import torch

from xpet.core import transfer
from xpet.core.transfer import fetch, stacked


class OnGpu(torch.Tensor):
    """Lies on the CPU and says that it does not."""

    device = torch.device("cuda", 0)


class Event:
    """Tells when it is recorded and waited for."""

    told: list[str]

    def record(self, stream: str) -> None:
        self.told.append(f"recorded on {stream}")

    def synchronize(self) -> None:
        self.told.append("waited for")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done with events; memory is not really pinned."""
    Event.told = []
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"the stream of {device}")
    monkeypatch.setattr(
        transfer, "_pinned_empty", lambda like, *rows: torch.empty((*rows, *like.shape), dtype=like.dtype)
    )
    return Event.told


def test_a_copy_is_started_at_once_and_waited_for_when_it_is_read(told: list[str]) -> None:
    values = torch.arange(6.0).view(2, 3)
    arrived = fetch(values.as_subclass(OnGpu))
    assert told == ["recorded on the stream of cuda:0"]
    values.zero_()  # the GPU goes on
    found = arrived()
    assert told[1:] == ["waited for"]
    assert found.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert type(found) is torch.Tensor


def test_without_pinned_memory_it_is_copied_at_once(told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "_pinned_empty", lambda like: None)
    monkeypatch.setattr(OnGpu, "cpu", lambda tensor: torch.Tensor(tensor).clone())
    values = torch.arange(3.0)
    arrived = fetch(values.as_subclass(OnGpu))
    values.zero_()
    assert arrived().tolist() == [0, 1, 2]
    assert told == []


def test_nothing_is_copied_on_a_cpu() -> None:
    values = torch.arange(3.0)
    assert fetch(values)().data_ptr() == values.data_ptr()
    assert torch.equal(stacked([values, values + 1], torch.device("cpu")), torch.stack([values, values + 1]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_there_and_back() -> None:
    rows = [torch.full((2, 3), number, dtype=torch.uint8) for number in range(5)]
    sent = stacked(rows, torch.device("cuda"))
    assert sent.device.type == "cuda"
    assert torch.equal(fetch(sent)(), torch.stack(rows))
