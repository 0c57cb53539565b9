"""Translating on a GPU: how CTranslate2 is asked, and what happens where it fails there; no GPU is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ctranslate2
import pytest

from xpet.core.errors import ConfigError, ModelError
from xpet.core.events import Event, Notice
from xpet.translation import device
from xpet.translation.bulk import Bulk
from xpet.translation.cache import Cache
from xpet.translation.chain import make_chain

MISSING = "Library libcublas.so.12 is not found or cannot be loaded"
MEMORY = "CUDA failed with error out of memory"
LINES = ["ein Hund", "die Katze steht auf"]
ENGLISH = ["a dog", "the cat stands on"]


class Gpu:
    """Counts as one GPU; `failures` are raised one after another by its translations, then it translates as the CPU."""

    def __init__(self) -> None:
        self.made: list[dict[str, Any]] = []
        self.batches: list[int] = []
        self.failures: list[str] = []
        self.refusal = ""

    def translator(self, path: str, **settings: Any) -> Any:
        self.made.append(settings)
        if settings["device"] == "cuda" and self.refusal:
            raise RuntimeError(self.refusal)
        plain = REAL(path, device="cpu", inter_threads=1, intra_threads=1, compute_type="auto")
        return plain if settings["device"] == "cpu" else Failing(plain, self)


class Failing:
    def __init__(self, plain: Any, gpu: Gpu) -> None:
        self.plain, self.gpu = plain, gpu

    def translate_batch(self, tokens: list[list[str]], **settings: Any) -> Any:
        self.gpu.batches.append(settings["max_batch_size"])
        if self.gpu.failures:
            raise RuntimeError(self.gpu.failures.pop(0))
        return self.plain.translate_batch(tokens, **settings)


REAL = ctranslate2.Translator


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    found = Gpu()
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 1)
    monkeypatch.setattr(ctranslate2, "Translator", found.translator)
    monkeypatch.setattr(device, "_unusable", set())
    return found


def translated(folder: Path, cache: Cache, name: str, told: list[Event]) -> tuple[list[str], Bulk]:
    bulk = Bulk(make_chain(folder, "de", "en", cache, True, name, told.append), cache)
    return [entry.text for entry in bulk.translate(LINES)], bulk


def test_a_gpu_gets_large_batches_in_float32(installed: Path, tmp_path: Path, gpu: Gpu) -> None:
    told: list[Event] = []
    with Cache(tmp_path) as cache:
        texts, _ = translated(installed, cache, "auto", told)
        assert translated(installed, cache, "cuda", told)[1].counts.cached == len(LINES)
        on_cpu = translated(installed, cache, "cpu", told)[1]
    assert texts == ENGLISH
    assert on_cpu.counts.translated == len(LINES)  # what another device computed is not taken
    assert told == []
    assert gpu.made[0] == {
        "device": "cuda", "device_index": 0, "compute_type": "float32", "inter_threads": 2, "intra_threads": 1
    }  # fmt: skip
    assert gpu.made[1]["device"] == "cpu"
    assert gpu.made[1]["compute_type"] == "auto"
    assert gpu.batches == [8192]


@pytest.mark.parametrize("when", ["the model is loaded", "the first lines are translated"])
def test_where_the_gpu_fails_the_cpu_translates_and_one_notice_says_so(
    when: str, installed: Path, tmp_path: Path, gpu: Gpu
) -> None:
    if when == "the model is loaded":
        gpu.refusal = MISSING
    else:
        gpu.failures = [MISSING]
    told: list[Event] = []
    with Cache(tmp_path) as cache:
        for _ in range(2):
            texts, bulk = translated(installed, cache, "auto", told)
            assert texts == ENGLISH
        assert bulk.counts.cached == len(LINES)
        assert translated(installed, cache, "cpu", told)[1].counts.cached == len(LINES)  # stored as what the CPU made
    assert len(told) == 1
    assert isinstance(told[0], Notice)
    assert told[0].text.startswith("translating on the CPU, since CTranslate2 fails on the GPU (")
    assert told[0].text.endswith(f"{MISSING}); pip install nvidia-cublas-cu12 brings the library")


def test_a_gpu_that_was_asked_for_is_not_left(installed: Path, tmp_path: Path, gpu: Gpu) -> None:
    gpu.failures = ["CUDA failed with error"]
    with Cache(tmp_path) as cache, pytest.raises(ModelError, match="fails: CUDA failed with error; use --device cpu$"):
        translated(installed, cache, "cuda", [])
    gpu.refusal = MISSING
    with Cache(tmp_path) as cache, pytest.raises(ModelError, match="CTranslate2 cannot load its model: Library"):
        translated(installed, cache, "cuda", [])


def test_smaller_batches_where_memory_is_short(installed: Path, tmp_path: Path, gpu: Gpu) -> None:
    gpu.failures = [MEMORY, MEMORY]
    told: list[Event] = []
    with Cache(tmp_path) as cache:
        assert translated(installed, cache, "auto", told)[0] == ENGLISH
    assert gpu.batches == [8192, 4096, 2048]
    assert told == []


def test_without_a_gpu_there_is_none_to_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 0)
    assert device.find_device("auto") == device.find_device("cpu") == "cpu"
    with pytest.raises(ConfigError, match="--device cuda: expected a GPU that CTranslate2 can use, found none"):
        device.find_device("cuda")
