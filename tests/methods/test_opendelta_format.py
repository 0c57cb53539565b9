"""OpenDelta's forms, against OpenDelta's own loader; and the states of text towers the published code saves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests import towers
from tests.rounding import alike
from xpet.core.config import MethodConfig
from xpet.core.errors import ModelError
from xpet.methods import bridge, opendelta_format
from xpet.methods.build import build_stack

TEXTS = towers.pad(towers.texts(6, seed=9))
CONFIGS = {
    **{name: towers.METHOD_CONFIGS[name] for name in ("lora", "adapter", "compacter")},
    "some": MethodConfig("lora", rank=2, alpha=5.0, modules=("attention.output.dense", "key"), train=()),
}
SAVED = {**CONFIGS, **{name: towers.METHOD_CONFIGS[name] for name in ("lora-scripts", "bitfit", "full")}}


def run_of(config: MethodConfig) -> tuple[dict[str, Tensor], Tensor]:
    """What a run of the method trained (random), and its features."""
    stack = build_stack(towers.tower(torch.float32), config, [1])
    generator = torch.Generator().manual_seed(3)
    state = {k: v + 0.05 * torch.randn(v.shape, generator=generator) for k, v in stack.state(0).items()}
    return state, features(config, state)


def features(config: MethodConfig, delta: dict[str, Tensor]) -> Tensor:
    stack = build_stack(towers.tower(torch.float32), config, [1])
    stack.load(0, delta)
    with stack.one(0), torch.no_grad():
        return stack(*TEXTS)


@pytest.mark.parametrize("name", CONFIGS)
def test_opendelta_loads_the_folder(name: str, tmp_path: Path) -> None:
    delta, expected = run_of(CONFIGS[name])
    opendelta_format.write(tmp_path, CONFIGS[name], delta)
    assert {p.name for p in tmp_path.iterdir()} == {"config.json", "pytorch_model.bin"}
    tower = towers.tower(torch.float32)
    with torch.no_grad():
        before = tower(*TEXTS)
        model = bridge.opendelta().AutoDeltaModel.from_finetuned(str(tmp_path), backbone_model=tower.transformer)
        found = tower(*TEXTS)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert (found - before).abs().max() > 1e-2
    assert model.config_class.delta_type == "" or model.delta_type == CONFIGS[name].name


@pytest.mark.parametrize("name", CONFIGS)
def test_written_then_read_is_the_run(name: str, tmp_path: Path) -> None:
    delta, expected = run_of(CONFIGS[name])
    opendelta_format.write(tmp_path, CONFIGS[name], delta)
    assert opendelta_format.is_delta(tmp_path)
    assert opendelta_format.is_ours(tmp_path)
    config, read = opendelta_format.read(tmp_path)
    assert set(read) == set(delta)
    assert all(torch.equal(read[key], delta[key]) for key in delta)
    alike(features(config, read), expected)
    assert (config.rank, config.alpha) == (CONFIGS[name].rank, CONFIGS[name].alpha)


def test_what_opendelta_saves_is_read(tmp_path: Path) -> None:
    """A folder of `save_finetuned` itself: the state of the whole backbone, and its settings."""
    tower = towers.tower(torch.float32)
    opendelta = bridge.opendelta()
    model = opendelta.AdapterModel(tower.transformer, bottleneck_dim=5, modified_modules=["attention.output.dense"])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
        expected = tower(*TEXTS)
    model.create_config_from_model()
    model.save_finetuned(str(tmp_path))
    config, delta = opendelta_format.read(tmp_path)
    assert (config.name, config.bottleneck) == ("adapter", 5)
    torch.testing.assert_close(features(config, delta), expected, atol=1e-5, rtol=1e-5)
    assert not opendelta_format.is_ours(tmp_path)


def whole(delta: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of a whole tower with what was trained in it."""
    return {**towers.tower(torch.float32).state_dict(), **delta}


@pytest.mark.parametrize("name", [n for n in SAVED if SAVED[n].alpha == opendelta_format.ALPHA])
@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"epoch": 3, "state_dict": s}], ids=["bare", "wrapped"])
def test_states_of_text_towers(name: str, wrap: Any, tmp_path: Path) -> None:
    delta, expected = run_of(SAVED[name])
    for state in (delta, {f"module.{key}": value for key, value in whole(delta).items()}):
        torch.save(wrap(state), tmp_path / "text_model_best.ckpt")
        config, read = opendelta_format.read_state(tmp_path / "text_model_best.ckpt")
        alike(features(config, read), expected)


def test_a_state_of_the_bare_transformer_with_the_old_buffer(tmp_path: Path) -> None:
    delta, expected = run_of(CONFIGS["lora"])
    state = {name.removeprefix("transformer."): value for name, value in delta.items()}
    torch.save({**state, "embeddings.position_ids": torch.arange(9)[None]}, tmp_path / "best.ckpt")
    config, read = opendelta_format.read_state(tmp_path / "best.ckpt")
    alike(features(config, read), expected)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"transformer.a.lora.lora_A": torch.ones(1), "transformer.a.adapter.x": torch.ones(1)},
         ": expected modules of one method, found lora and adapter"),
        ({"transformer.a.adapter.x": torch.ones(1)},
         ": expected adapter modules as OpenDelta makes them, found others ('modulelist.down_proj.bias')"),
        ({"epoch": 3, "best": 0.5}, ": expected a dictionary of tensors, found keys epoch, best; save the model's "
                                    "state_dict alone"),
        ([1], ": expected a dictionary of tensors, found list; save the model's state_dict alone"),
    ],
)  # fmt: skip
def test_states_that_are_not_understood(state: Any, words: str, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "best.ckpt")
    with pytest.raises(ModelError) as error:
        opendelta_format.read_state(tmp_path / "best.ckpt")
    assert str(error.value) == f"{tmp_path / 'best.ckpt'}{words}"


class Payload:
    """What unpickling would run."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("owned"),))


def test_nothing_is_unpickled_but_tensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Payload()}, tmp_path / "best.ckpt")
    with pytest.raises(ModelError, match="best.ckpt: damaged, truncated, or it holds other things than tensors"):
        opendelta_format.read_state(tmp_path / "best.ckpt")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"delta_type": "prefix"}, "expected a delta_type of lora, adapter, compacter, found prefix"),
        (
            {"delta_type": "adapter", "non_linearity": "relu"},
            "expected non_linearity gelu_new as xpet has it, found relu",
        ),
        ({"delta_type": "compacter", "phm_rank": 2}, "expected phm_rank 1 as xpet has it, found 2"),
    ],
)
def test_settings_xpet_does_not_have(settings: dict[str, Any], words: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelError) as error:
        opendelta_format.read(tmp_path)
    assert str(error.value) == f"{tmp_path}/config.json: {words}"


def test_a_trained_head_is_no_part_of_the_backbone(tmp_path: Path) -> None:
    config = towers.METHOD_CONFIGS["lora-scripts"]
    with pytest.raises(ModelError) as error:
        opendelta_format.write(tmp_path, config, run_of(config)[0])
    assert str(error.value) == (
        f"{tmp_path}: expected a run that trained nothing beside the transformer, OpenDelta's backbone, found "
        "LinearTransformation.bias; fold it into a checkpoint, or train without head and embeddings"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [{"": None}, [], None, 3, "prefix", ["lora"]])
def test_a_delta_type_that_is_none(kind: object, tmp_path: Path) -> None:
    opendelta_format.write(tmp_path, CONFIGS["lora"], run_of(CONFIGS["lora"])[0])
    settings = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**settings, "delta_type": kind}))
    with pytest.raises(ModelError, match="expected a delta_type of lora, adapter, compacter, found "):
        opendelta_format.read(tmp_path)


@pytest.mark.parametrize("alpha", [float("nan"), float("inf"), True, "16", [], None])
def test_a_lora_alpha_that_is_none(alpha: object, tmp_path: Path) -> None:
    opendelta_format.write(tmp_path, CONFIGS["lora"], run_of(CONFIGS["lora"])[0])
    settings = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**settings, "lora_alpha": alpha}))
    with pytest.raises(ModelError, match=r"config\.json: expected a number lora_alpha, found "):
        opendelta_format.read(tmp_path)


@pytest.mark.parametrize("wrapper", ["module.", "base_model.model.", "_orig_mod.", "module._orig_mod."])
def test_two_names_of_one_weight(wrapper: str, tmp_path: Path) -> None:
    delta, _ = run_of(CONFIGS["lora"])
    name = min(delta)
    torch.save({**delta, wrapper + name: delta[name] + 1}, tmp_path / "x.ckpt")
    with pytest.raises(ModelError) as error:
        opendelta_format.read_state(tmp_path / "x.ckpt")
    assert str(error.value) == (
        f"{tmp_path}/x.ckpt: expected every tensor once, found {name} and {wrapper}{name}, which are both {name}; "
        "leave one of them out"
    )


@pytest.mark.parametrize("method", ["lora", "adapter", "compacter"])
def test_tensors_without_a_dimension(method: str, tmp_path: Path) -> None:
    delta, _ = run_of(CONFIGS[method])
    torch.save({name: torch.tensor(1.0) for name in delta}, tmp_path / "x.ckpt")
    with pytest.raises(ModelError, match=f"expected {method} modules as OpenDelta makes them, found others"):
        opendelta_format.read_state(tmp_path / "x.ckpt")


@pytest.mark.parametrize("said", [8, "4", None, [4]])
def test_a_rank_other_than_that_of_the_products(said: object, tmp_path: Path) -> None:
    """OpenDelta scales by alpha over the rank of its settings."""
    config = MethodConfig("lora", rank=4, train=())
    state = build_stack(towers.tower(torch.float32), config, [1]).state(0)
    opendelta_format.write(tmp_path, config, state)
    settings = json.loads((tmp_path / "config.json").read_text("utf-8"))
    (tmp_path / "config.json").write_text(json.dumps({**settings, "lora_r": said}))
    with pytest.raises(ModelError) as error:
        opendelta_format.read(tmp_path)
    found = f"others (lora_r {said} and a product of rank 4)"
    assert str(error.value) == f"{tmp_path}: expected lora modules as OpenDelta makes them, found {found}"


@pytest.mark.parametrize("wrapper", ["module._orig_mod.", "_orig_mod.module.", "base_model.model.module."])
def test_wrappers_in_any_order(wrapper: str, tmp_path: Path) -> None:
    state = towers.tower(torch.float32).state_dict()
    torch.save({wrapper + name: value for name, value in state.items()}, tmp_path / "state.ckpt")
    config, found = opendelta_format.read_state(tmp_path / "state.ckpt")
    assert config.name == "full"
    assert found.keys() == state.keys()
