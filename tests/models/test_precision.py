"""What image features are computed in: by name, truly, and as a part of their key."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from xpet.core.errors import ConfigError, ModelError
from xpet.models.image_tower import LoadedImage, load_image_tower
from xpet.models.precision import precision_on, true_float32

BACKENDS: Any = torch.backends
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
ON_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture(scope="module")
def tower(image_checkpoint: Path) -> LoadedImage:
    return load_image_tower(image_checkpoint)


def pictures(count: int = 8) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)) for _ in range(count)]


@pytest.mark.parametrize(
    ("device", "precision", "used"),
    [
        ("cpu", "auto", "fp32"), ("cuda", "auto", "bf16"), ("cuda:1", "auto", "bf16"), ("mps", "auto", "fp32"),
        *((device, name, name) for device in ("cpu", "cuda") for name in DTYPES),
    ],
)  # fmt: skip
def test_the_name_of_what_is_used(device: str, precision: str, used: str) -> None:
    assert precision_on(device, precision) == used
    assert precision_on(torch.device(device), precision) == used


@pytest.mark.parametrize("precision", ["fp8", "tf32", "", "FP32"])
def test_unknown_precisions(precision: str, tower: LoadedImage) -> None:
    for ask in (tower.encode, lambda images, device, given: tower.key_on(device, given)):
        with pytest.raises(
            ConfigError, match=f"unknown feature precision '{precision}': expected one of auto, fp32, b"
        ):
            ask([], "cpu", precision)


def test_the_key_holds_the_precision_that_is_used(tower: LoadedImage) -> None:
    keys = {(device, name): tower.key_on(device, name) for device in ("cpu", "cuda") for name in ("auto", *DTYPES)}
    assert len(set(keys.values())) == 3
    assert keys["cpu", "auto"] == keys["cpu", "fp32"] == keys["cuda", "fp32"] == tower.key_on()
    assert keys["cuda", "auto"] == keys["cuda", "bf16"] == keys["cpu", "bf16"]


def test_the_key_changes_with_how_pictures_become_rgb(tower: LoadedImage, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tower.key_on()
    monkeypatch.setattr("xpet.models.image_tower.VERSION", "3")
    assert tower.key_on() != before


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precisions_on_a_cpu(precision: str, tower: LoadedImage) -> None:
    exact = tower.encode(pictures())
    found = tower.encode(pictures(), "cpu", precision)
    assert found.dtype == torch.float32
    assert torch.equal(found, found.to(DTYPES[precision]).float())  # it has no more digits than that
    assert not torch.equal(found, exact)
    error = (found - exact).norm() / exact.norm()
    assert 1e-5 < error < (0.02 if precision == "bf16" else 0.003)
    assert torch.equal(tower.encode(pictures()), exact)  # the weights are what they were


def test_numbers_too_large_for_fp16(image_checkpoint: Path) -> None:
    large = load_image_tower(image_checkpoint)
    with torch.no_grad():
        large.tower.visual_projection.weight.mul_(1e6)  # type: ignore[union-attr, operator]
    assert large.encode(pictures(), "cpu", "bf16").isfinite().all()
    with pytest.raises(ModelError, match="expected finite features in fp16, found numbers too large; use bf16 or fp32"):
        large.encode(pictures(), "cpu", "fp16")


def test_a_device_without_the_precision(tower: LoadedImage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: False)
    with pytest.raises(ConfigError, match=r"feature precision bf16: expected a device with it, found cpu \(torch swit"):
        tower.encode(pictures(1), "cpu", "bf16")

    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("no bfloat16 here\nMore")

    monkeypatch.setattr(torch, "autocast", refuse)
    with pytest.raises(ConfigError) as error:
        tower.encode(pictures(1), "cpu", "bf16")
    assert str(error.value) == (
        "feature precision bf16: expected a device with it, found cpu (no bfloat16 here); use fp32"
    )


def test_fp32_is_float32_inside_anothers_autocast(tower: LoadedImage) -> None:
    exact = tower.encode(pictures())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(tower.encode(pictures(), "cpu", "fp32"), exact)


def switches() -> list[Any]:
    """All of torch's settings of float32 products; an error's kind where it does not tell."""
    reads: list[Callable[[], Any]] = [
        torch.get_float32_matmul_precision, lambda: BACKENDS.cuda.matmul.allow_tf32,
        lambda: BACKENDS.cudnn.allow_tf32,
    ]  # fmt: skip
    if hasattr(BACKENDS.cuda.matmul, "fp32_precision"):
        reads += [
            lambda: BACKENDS.cuda.matmul.fp32_precision, lambda: BACKENDS.cudnn.conv.fp32_precision,
            lambda: BACKENDS.mkldnn.matmul.fp32_precision, lambda: BACKENDS.mkldnn.conv.fp32_precision,
        ]  # fmt: skip
    found = []
    for read in reads:
        try:
            found.append(read())
        except RuntimeError as error:
            found.append(type(error))
    return found


def test_tf32_is_off_for_the_block_and_as_it_was_after() -> None:
    newer = hasattr(BACKENDS.cuda.matmul, "fp32_precision")
    starts: list[Callable[[], None]] = [
        lambda: torch.set_float32_matmul_precision("medium"),
        lambda: setattr(BACKENDS.cuda.matmul, "allow_tf32", True), lambda: setattr(BACKENDS.cudnn, "allow_tf32", False),
        lambda: setattr(BACKENDS.cudnn, "allow_tf32", True), lambda: torch.set_float32_matmul_precision("highest"),
    ]  # fmt: skip
    if newer:
        starts[-1:-1] = [
            lambda: setattr(BACKENDS.cuda.matmul, "fp32_precision", "tf32")
        ]  # beside the older: unreadable
    for start in starts:
        start()
        before = switches()
        with suppress(KeyError), true_float32():
            assert switches()[:3] == ["highest", False, False]
            assert set(switches()[3:]) <= {"ieee"}
            raise KeyError
        assert switches() == before


def test_threads_leave_the_switches_as_they_were(tower: LoadedImage) -> None:
    torch.set_float32_matmul_precision("high")
    try:
        prepared = [tower.prepare(one) for one in pictures(2)]
        threads = [threading.Thread(target=tower.encode, args=(prepared, "cpu", "fp32")) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")


@ON_CUDA
def test_precisions_on_a_gpu(tower: LoadedImage, image_checkpoint: Path) -> None:
    own = load_image_tower(image_checkpoint)
    exact = own.tower.double()
    prepared = [tower.prepare(one) for one in pictures(64)]
    with torch.no_grad():
        expected = exact(pixel_values=tower._scaled(torch.stack(prepared)).double()).image_embeds
    BACKENDS.cuda.matmul.allow_tf32 = BACKENDS.cudnn.allow_tf32 = True
    try:
        errors = {
            name: float((tower.encode(prepared, "cuda", name).double() - expected).norm() / expected.norm())
            for name in ("fp32", "bf16", "fp16", "auto")
        }
        assert BACKENDS.cuda.matmul.allow_tf32
        assert BACKENDS.cudnn.allow_tf32
    finally:
        BACKENDS.cuda.matmul.allow_tf32 = False
        tower.tower.to("cpu")
    assert errors["fp32"] < 3e-6  # TF32 would give about 3e-4
    assert 3e-5 < errors["fp16"] < 3e-3
    assert 3e-4 < errors["bf16"] < 3e-2
    assert errors["auto"] == errors["bf16"]
