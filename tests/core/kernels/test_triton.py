"""Triton's kernels in its interpreter, against their twins; where triton is installed (xpet/core/kernels/README.md).

A process of its own computes: whether Triton interprets is decided when it is imported.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from xpet.core.errors import XpetWarning
from xpet.core.kernels import choice
from xpet.core.kernels.choice import Trial

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
def test_kernels_are_their_twins_in_the_interpreter() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.core.kernels.interpreted"], env={**os.environ, "TRITON_INTERPRET": "1"}, cwd=ROOT,
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The choice of a process that has tried nothing yet, in which a CPU counts as a device with kernels."""
    monkeypatch.setattr(choice, "DEVICES", ("cpu",))
    monkeypatch.setattr(choice, "_choice", choice._Choice())
    monkeypatch.setattr(choice, "find_spec", lambda name: object())


def agreeing() -> Trial:
    return [torch.ones(3)], [torch.ones(3, dtype=torch.float64)]


def off() -> Trial:
    return [torch.tensor([1.0, 2.0])], [torch.tensor([1.0, 2.5], dtype=torch.float64)]


def undefined() -> Trial:
    return [torch.tensor([1.0, torch.nan])], [torch.tensor([1.0, 2.5], dtype=torch.float64)]


def broken() -> Trial:
    raise RuntimeError("no such target\nsm_42")


@pytest.mark.usefixtures("on_cpu")
def test_a_kernel_is_tried_once_for_a_case() -> None:
    tried: list[int] = []

    def trial() -> Trial:
        tried.append(1)
        return agreeing()

    for case, count in (((8,), 1), ((8,), 1), ((16,), 2)):
        assert choice.works("LayerNorm", torch.ones(2, 8), case, trial)
        assert len(tried) == count
    with choice.fused(False):
        assert not choice.works("LayerNorm", torch.ones(2, 8), (8,), trial)
    assert not choice.works("LayerNorm", torch.ones(2, 8, dtype=torch.float64), (8,), trial)
    assert choice.works("LayerNorm", torch.ones(2, 8), (8,), trial)
    assert len(tried) == 2


@pytest.mark.usefixtures("on_cpu")
@pytest.mark.parametrize(
    ("trial", "text"),
    [(off, "it is off by 0.2"), (undefined, "it is off by nan"), (broken, "no such target sm_42")],
)
def test_one_that_does_not_work_is_left_out_with_one_warning(
    trial: Callable[[], Trial], text: str, recwarn: pytest.WarningsRecorder
) -> None:
    for case in (8, 8, 16):
        assert not choice.works("LayerNorm", torch.ones(2, 8), case, trial)
    (warning,) = recwarn.list
    assert warning.category is XpetWarning
    assert str(warning.message) == (
        f"Triton's kernel for LayerNorm does not work on cpu ({text}); PyTorch's own are used, which are slower"
    )
    assert choice.works("Adam", torch.ones(2, 8), 8, agreeing)


@pytest.mark.usefixtures("on_cpu")
def test_without_triton_nothing_is_tried_and_nothing_said(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(choice, "find_spec", lambda name: None)
    assert not choice.works("LayerNorm", torch.ones(2, 8), 8, broken)
    assert not recwarn.list
