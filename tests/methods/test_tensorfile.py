"""Files of tensors made elsewhere: what is let through, what is refused and never run, which numbers are sound."""

from __future__ import annotations

import shutil
import typing
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.run_records import run_record
from tests.tiny import tiny_clip, tiny_image_checkpoint, tiny_text_checkpoint
from xpet.core.errors import ModelError
from xpet.core.files import write_file
from xpet.core.language_pack import PackEntry, pack_bytes, read_pack
from xpet.core.rundir import read_run, write_run
from xpet.jobs.shared.run_records import read_runs
from xpet.methods.tensorfile import read_tensors
from xpet.models.checkpoint import load_text_tower
from xpet.models.clip_text import load_english_tower
from xpet.models.image_tower import load_image_tower

HOST = "transformer.encoder.layer.0.attention.self.query.lora"
CASES = Path(__file__).resolve().parents[2].parent / "shared" / "cases"


def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {f"{HOST}.lora_A": torch.randn(4, 64), f"{HOST}.lora_B": torch.randn(64, 4)}


def test_a_state_as_the_published_code_saves_it(tmp_path: Path) -> None:
    saved: Any = typing.OrderedDict()  # which pickles its own name along
    saved.update(state())
    torch.save(saved, tmp_path / "text_model_best.ckpt")
    with pytest.raises(Exception, match="typing.OrderedDict"):
        torch.load(tmp_path / "text_model_best.ckpt", weights_only=True)
    found = read_tensors(tmp_path / "text_model_best.ckpt")
    assert found.keys() == state().keys()
    assert all(torch.equal(found[name], value) for name, value in state().items())
    ((_, record),) = read_runs([str(tmp_path / "text_model_best.ckpt")], ["de"])
    assert record.method.name == "lora"
    assert all(torch.equal(record.delta[name], value) for name, value in state().items())
    allowed = torch.serialization.get_safe_globals()
    assert typing.OrderedDict not in allowed  # the next reader is as strict as before


class Harm:
    """What a pickle that runs something looks like."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("other", ["Harm", "Counter", "module"])
def test_nothing_else_is_let_through_or_run(other: str, tmp_path: Path) -> None:
    import collections

    made: dict[str, Any] = {
        "Harm": Harm(tmp_path / "ran"), "Counter": collections.Counter(a=1), "module": torch.nn.Linear(2, 2),
    }  # fmt: skip
    torch.save({**state(), "x": made[other]}, tmp_path / "a.ckpt")
    with pytest.raises(
        ModelError,
        match="other things than tensors, and nothing in it was run|expected a dictionary of tensors, found keys",
    ):
        read_tensors(tmp_path / "a.ckpt")
    assert {path.name for path in tmp_path.iterdir()} == {"a.ckpt"}


def spoilt(tensors: dict[str, torch.Tensor], value: float) -> tuple[dict[str, torch.Tensor], str]:
    """The tensors with one odd number in the middle of the largest, and its name."""
    name = max(tensors, key=lambda n: (tensors[n].numel(), n))
    made = {n: t.clone() for n, t in tensors.items()}
    made[name].view(-1)[made[name].numel() // 2] = value
    return made, name


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_every_reader_of_weights_has_a_finite_check_at_its_door(value: float, tmp_path: Path) -> None:
    def check(read: Any, source: Path, name: str) -> None:
        with pytest.raises(ModelError) as error:
            read(source)
        assert f"expected finite weights, found NaN or infinity in {name}; " in str(error.value)

    bad, name = spoilt(state(), value)
    save_file(bad, tmp_path / "a.safetensors")
    check(read_tensors, tmp_path / "a.safetensors", name)
    torch.save({n: t.half() for n, t in bad.items()}, tmp_path / "a.bin")
    check(read_tensors, tmp_path / "a.bin", name)
    write_run(tmp_path / "run", run_record(bad))
    check(read_run, tmp_path / "run", name)
    write_file(tmp_path / "a.xpet", pack_bytes([PackEntry("de", run_record(bad))]))
    check(read_pack, tmp_path / "a.xpet", name)
    towers: dict[str, Any] = {
        "text": (tiny_text_checkpoint(tmp_path / "text"), load_text_tower),
        "image": (tiny_image_checkpoint(tmp_path / "image"), load_image_tower),
        "clip": (tiny_clip(tmp_path / "clip"), load_english_tower),
    }
    for folder, load in towers.values():
        weights = {n: t for n, t in load_file(folder / "model.safetensors").items()}
        own = {n: t for n, t in weights.items() if folder.name != "clip" or n.startswith("text_model")}
        broken, name = spoilt(own, value)
        save_file({**weights, **broken}, folder / "model.safetensors")
        check(load, folder, name)
    folder = tiny_text_checkpoint(tmp_path / "bin", weights="bin")
    broken, name = spoilt(torch.load(folder / "pytorch_model.bin", weights_only=True), value)
    torch.save(broken, folder / "pytorch_model.bin")
    check(load_text_tower, folder, name)


def test_empty_tensors_are_those_of_zero_3(tmp_path: Path) -> None:
    empty = {name: value if name.endswith("A") else torch.empty(0) for name, value in state().items()}
    save_file(empty, tmp_path / "a.safetensors")
    words = (
        r"expected weights, found 1 empty tensors \(.*lora_B\), as DeepSpeed ZeRO-3 saves them; gather the parameters"
    )
    with pytest.raises(ModelError, match=words):
        read_tensors(tmp_path / "a.safetensors")
    folder = tiny_text_checkpoint(tmp_path / "text")
    weights = load_file(folder / "model.safetensors")
    save_file({name: torch.empty(0) for name in weights}, folder / "model.safetensors")
    with pytest.raises(ModelError, match=f"expected weights, found {len(weights)} empty tensors"):
        load_text_tower(folder)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.float8_e4m3fn, torch.int8, torch.int64, torch.bool])
def test_weights_are_of_floating_point(dtype: torch.dtype, tmp_path: Path) -> None:
    words = f"expected weights of floating point, found {str(dtype)[6:]} in {HOST}.lora_A; save the model in float32"
    odd = {name: value.to(dtype) for name, value in state().items()}
    save_file(odd, tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match=words):
        read_tensors(tmp_path / "a.safetensors")
    write_run(tmp_path / "run", run_record(odd))
    with pytest.raises(ModelError, match=words):
        read_run(tmp_path / "run")


def test_weights_are_plain_tensors(tmp_path: Path) -> None:
    torch.save({**state(), f"{HOST}.x": torch.eye(4).to_sparse()}, tmp_path / "a.bin")
    with pytest.raises(
        ModelError, match=r"expected plain tensors, found .*lora.x \(cpu, sparse_coo, float32\); save the"
    ):
        read_tensors(tmp_path / "a.bin")


def test_numbers_that_float32_does_not_hold(tmp_path: Path) -> None:
    save_file({name: value.double() * 1e300 for name, value in state().items()}, tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match="expected finite weights, found more than float32 holds in"):
        read_tensors(tmp_path / "a.safetensors")


@pytest.mark.skipif(not CASES.is_dir(), reason="no ../shared/cases")
def test_the_adapter_that_was_measured_as_chance(tmp_path: Path) -> None:
    shutil.copytree(CASES / "nan", tmp_path / "nan")
    with pytest.raises(ModelError, match="expected finite weights, found NaN or infinity in "):
        read_runs([str(tmp_path / "nan")], ["de"])
