"""Weights written a block at a time: what the format's own libraries read back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from xpet.core.errors import ModelError
from xpet.core.events import Event, Progress
from xpet.models import shards
from xpet.models.shards import StorageOptions, total_bytes, write_weights
from xpet.models.weights import Remapped, read_weights

TYPES = [torch.float32, torch.float16, torch.bfloat16]


def some_tensors(dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = {"b.weight": (7, 5), "a.weight": (3, 4, 2), "c.bias": (11,), "empty": (0, 3), "one": ()}
    made = {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}
    return {name: tensor.mT if tensor.dim() == 2 else tensor for name, tensor in made.items() if name != "empty"}


@pytest.mark.parametrize("pytorch", [False, True])
@pytest.mark.parametrize("stored", TYPES)
@pytest.mark.parametrize("source", TYPES)
def test_every_type_into_every_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: torch.dtype, stored: torch.dtype, pytorch: bool
) -> None:
    monkeypatch.setattr(shards, "_BLOCK", 4)
    tensors = some_tensors(source)
    files = write_weights(tmp_path, tensors, {"c.bias": lambda base: base * 3}, StorageOptions(stored, pytorch=pytorch))
    assert files == ["pytorch_model.bin" if pytorch else "model.safetensors"]
    assert [p.name for p in tmp_path.iterdir()] == files
    path = tmp_path / files[0]
    found = torch.load(path, weights_only=True) if pytorch else load_file(path)
    assert set(found) == set(tensors)
    for name, tensor in tensors.items():
        expected = (tensor.float() * (3 if name == "c.bias" else 1)).to(stored)
        assert found[name].dtype == stored
        assert torch.equal(found[name], expected)


@pytest.mark.parametrize(
    ("pytorch", "stem", "ending"), [(False, "model", "safetensors"), (True, "pytorch_model", "bin")]
)
def test_shards_are_filled_in_order_and_listed(tmp_path: Path, pytorch: bool, stem: str, ending: str) -> None:
    tensors = some_tensors()
    seen: list[Event] = []
    # a.weight has 24 values, b.weight 35, c.bias 11, one 1
    storage = StorageOptions(shard_size=4 * (24 + 3), pytorch=pytorch)
    files = write_weights(tmp_path, tensors, {}, storage, seen.append)
    names = [f"{stem}-{number:05d}-of-00003.{ending}" for number in (1, 2, 3)]
    assert files == [*names, f"{stem}.{ending}.index.json"]
    assert {p.name for p in tmp_path.iterdir()} == set(files)
    assert json.loads((tmp_path / files[-1]).read_text("utf-8")) == {
        "metadata": {"total_size": 4 * 71},
        "weight_map": {"a.weight": names[0], "b.weight": names[1], "c.bias": names[2], "one": names[2]},
    }
    assert total_bytes(tensors, storage) == 4 * 71
    found = read_weights(tmp_path)
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    assert seen == [Progress("writing", done, 4) for done in (1, 2, 3, 4)]


def test_a_tensor_is_read_when_its_turn_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Block by block where nothing is changed, so that what was mapped for the last one need not stay in memory."""
    monkeypatch.setattr(shards, "_BLOCK", 4)
    tensors = {"a": torch.arange(10.0), "b": torch.arange(6.0)}
    asked: list[str] = []
    mapped: list[int] = []  # after how many questions

    def read() -> dict[str, torch.Tensor]:
        mapped.append(len(asked))
        return tensors

    class Asked(Remapped):
        def __getitem__(self, name: str) -> torch.Tensor:
            asked.append(name)
            return super().__getitem__(name)

    write_weights(tmp_path, Asked(read, after=32), {"b": lambda base: base + 1}, StorageOptions())
    assert asked == ["a", "b", *"aaaa", "b"]  # both shapes; length and three blocks of "a"; "b" for its change
    assert mapped == [0, 2, 4, 5, 6, 7]  # "a" has 40 bytes: what follows it comes from another mapping
    found = read_weights(tmp_path)
    assert torch.equal(found["a"], tensors["a"])
    assert torch.equal(found["b"], tensors["b"] + 1)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite(tmp_path: Path, value: float) -> None:
    tensors = {"a": torch.ones(3), "b": torch.tensor([1.0, value])}
    with pytest.raises(ModelError) as error:
        write_weights(tmp_path, tensors, {}, StorageOptions())
    assert str(error.value) == "expected finite weights, found NaN or infinity in b; train the run again"


def test_values_that_a_type_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as error:
        write_weights(tmp_path, {"a": torch.tensor([-7e4])}, {}, StorageOptions(torch.float16))
    assert str(error.value) == "a holds 70000, more than torch.float16 can hold (65504); use --dtype bf16"


def test_changes_must_fit(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"^delta does not fit: the tower has no x$"):
        write_weights(tmp_path, {"a": torch.ones(3)}, {"x": lambda base: base}, StorageOptions())
    with pytest.raises(ModelError, match=r"^delta does not fit: a is \(2,\), expected \(3,\) as in the tower$"):
        write_weights(tmp_path, {"a": torch.ones(3)}, {"a": lambda base: base[:2]}, StorageOptions())


def test_a_tensor_in_two_shards(tmp_path: Path) -> None:
    from tests.tiny import tiny_text_checkpoint

    folder = tiny_text_checkpoint(tmp_path / "ck", weights="sharded")
    one, two = (folder / f"model-0000{number}-of-00002.safetensors" for number in (1, 2))
    name = min(load_file(one))
    save_file({**load_file(two), name: load_file(one)[name] + 1}, two)
    with pytest.raises(ModelError) as error:
        read_weights(folder)
    assert str(error.value) == f"{folder}: expected every tensor in one shard, found {name} in {two.name}, too"
