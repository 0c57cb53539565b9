"""PEFT's folder, against the real library: what is written loads there, and what it writes is read here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests import towers
from tests.rounding import alike
from xpet.core.config import MethodConfig
from xpet.core.errors import ModelError
from xpet.methods import embeddings, peft_format
from xpet.methods.build import build_stack

peft = pytest.importorskip("peft")
TEXTS = towers.pad(towers.texts(6, seed=9))
CONFIGS = {name: towers.METHOD_CONFIGS[name] for name in ("lora", "lora-scripts")} | {
    "alone": MethodConfig("lora", rank=2, alpha=5.0, train=()),
    "everything": MethodConfig("lora", rank=3, modules=("dense",), train=("layernorm", "head")),
    "named": MethodConfig("lora", modules=("layer.1.attention.self.key",), train=("pooler",)),
}


def stacked(config: MethodConfig) -> tuple[dict[str, Tensor], Tensor]:
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


def encoded(tower: Any) -> Tensor:
    with torch.no_grad():
        return tower.eval()(*TEXTS)


def written(folder: Path, config: MethodConfig, delta: dict[str, Tensor]) -> dict[str, Any]:
    modules = [name for name, _ in towers.tower(torch.float32).named_modules() if name]
    peft_format.write(folder, config, delta, modules, "towers/base", towers.VOCABULARY)
    return json.loads((folder / "adapter_config.json").read_text("utf-8"))


@pytest.mark.parametrize("name", CONFIGS)
def test_peft_computes_what_the_run_does(name: str, tmp_path: Path) -> None:
    config = CONFIGS[name]
    delta, expected = stacked(config)
    written(tmp_path, config, delta)
    assert {p.name for p in tmp_path.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    tower = towers.tower(torch.float32)
    before = encoded(tower)
    found = encoded(peft.PeftModel.from_pretrained(tower, str(tmp_path)))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert (found - before).abs().max() > 1e-2


def test_an_embedding_delta_is_lora_on_the_embedding(tmp_path: Path) -> None:
    config = MethodConfig("lora", rank=4, train=("layernorm", "embeddings"), embedding_rank=3)
    stack = build_stack(towers.tower(torch.float32), config, [1], [range(5, 40, 2)])
    with torch.no_grad():
        stack.flat[0].add_(0.1 * torch.randn(stack.flat[0].shape, generator=torch.Generator().manual_seed(3)))
    delta = stack.state(0)
    expected = features(config, delta)
    assert written(tmp_path, config, delta)["rank_pattern"] == {"word_embeddings": 3}
    found = encoded(peft.PeftModel.from_pretrained(towers.tower(torch.float32), str(tmp_path)))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    again, read = peft_format.read(tmp_path)
    assert (again.train, again.embedding_rank) == (("layernorm", "embeddings"), 3)
    assert set(read) == set(delta)
    assert all(torch.equal(read[name], delta[name]) for name in delta)
    plain = {name: value for name, value in delta.items() if "word_embeddings" not in name}
    assert (features(MethodConfig("lora", rank=4), plain) - expected).abs().max() > 1e-2


@pytest.mark.parametrize("name", CONFIGS)
def test_written_then_read_is_the_run(name: str, tmp_path: Path) -> None:
    config = CONFIGS[name]
    delta, expected = stacked(config)
    settings = written(tmp_path, config, delta)
    again, read = peft_format.read(tmp_path)
    assert (again.name, again.rank, again.alpha) == ("lora", config.rank, config.alpha)
    assert set(read) == set(delta)
    assert all(torch.equal(read[key], delta[key]) for key in delta)
    alike(features(again, read), expected)
    assert settings["base_model_name_or_path"] == "towers/base" == peft_format.base_of(tmp_path)
    assert peft_format.is_ours(tmp_path)


def test_modules_are_named_as_they_were_asked_for(tmp_path: Path) -> None:
    config = CONFIGS["lora-scripts"]
    settings = written(tmp_path, config, stacked(config)[0])
    assert settings["target_modules"] == ["query", "key", "value", "attention.output.dense"]
    assert settings["modules_to_save"] == ["output.LayerNorm", "LinearTransformation"]


def made_by_peft(folder: Path, module: nn.Module, **settings: Any) -> tuple[Any, set[str]]:
    """An adapter PEFT wrote, with random weights, on a module; and the names in its file."""
    torch.manual_seed(5)
    config = peft.LoraConfig(**{"r": 4, "lora_alpha": 6, "target_modules": ["query", "value"], **settings})
    model = peft.get_peft_model(module, config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape))
    model.save_pretrained(str(folder))
    return model, set(load_file(folder / "adapter_model.safetensors"))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"modules_to_save": ["output.LayerNorm"]},
        {"modules_to_save": ["LinearTransformation", "output.LayerNorm"], "use_rslora": True},
        {"target_modules": r".*layer\.1\..*(key|value)", "init_lora_weights": "gaussian"},
    ],
)
def test_adapters_made_by_peft_are_read(settings: dict[str, Any], tmp_path: Path) -> None:
    model, names = made_by_peft(tmp_path, towers.tower(torch.float32), **settings)
    assert all(name.startswith("base_model.model.") for name in names)
    config, delta = peft_format.read(tmp_path)
    torch.testing.assert_close(features(config, delta), encoded(model), atol=1e-5, rtol=1e-5)
    assert not peft_format.is_ours(tmp_path)


LAYER = "transformer.encoder.layer.1.attention.self"
SCALED: list[dict[str, Any]] = [
    {"alpha_pattern": {"query": 3}},
    {"alpha_pattern": {f"{LAYER}.query": 20}, "use_rslora": True},
    {"rank_pattern": {"query": 2}},
    {"rank_pattern": {r"layer\.0\..*value": 7}, "alpha_pattern": {"self.query": 5, "query": 9}},
    {"rank_pattern": {"query": 2, f"^{LAYER}.value": 6}, "use_rslora": True},
    {"target_modules": ["query", "word_embeddings"], "rank_pattern": {"word_embeddings": 2}},
    {"target_modules": ["query", "word_embeddings"], "rank_pattern": {"word_embeddings": 2}, "use_rslora": True},
    {"target_modules": ["query", "word_embeddings"], "alpha_pattern": {"embeddings.word_embeddings": 11}},
    {"target_modules": ["query", "word_embeddings"], "alpha_pattern": {"word_embeddings": 11, "query": 1},
     "rank_pattern": {"word_embeddings": 5, "query": 3}, "use_rslora": True},
    {"target_modules": ["word_embeddings", "value"], "use_rslora": True, "modules_to_save": ["output.LayerNorm"]},
]  # fmt: skip


@pytest.mark.parametrize("settings", SCALED)
@pytest.mark.parametrize("bare", [False, True])
def test_every_rule_of_scaling_is_pefts(settings: dict[str, Any], bare: bool, tmp_path: Path) -> None:
    if bare and any(LAYER in key for key in str(settings).split("'")):
        pytest.skip("a pattern with the tower's own names")
    tower = towers.tower(torch.float32)
    made_by_peft(tmp_path, tower.transformer if bare else tower, **settings)
    tower = towers.tower(torch.float32)  # as PEFT itself reads it: its file has the patterns in another order
    model = peft.PeftModel.from_pretrained(tower.transformer if bare else tower, str(tmp_path))
    expected = encoded(tower if bare else model)
    config, delta = peft_format.read(tmp_path)
    torch.testing.assert_close(features(config, delta), expected, atol=2e-5, rtol=1e-5)  # sums in another order
    plain = towers.tower(torch.float32)
    state = plain.state_dict()
    with torch.no_grad():
        for name, change in peft_format.weight_changes(tmp_path).items():
            state[name].copy_(change(state[name]))
    torch.testing.assert_close(encoded(plain), expected, atol=2e-5, rtol=1e-5)
    assert (encoded(towers.tower(torch.float32)) - expected).abs().max() > 1e-2


def test_tensors_under_two_names(tmp_path: Path) -> None:
    made_by_peft(tmp_path, towers.tower(torch.float32))
    file = tmp_path / "adapter_model.safetensors"
    tensors = load_file(file)
    name = next(name for name in tensors if "lora_A" in name)
    save_file({**tensors, name.replace("base_model.model.", "base_model.model.module."): tensors[name] + 1}, file)
    with pytest.raises(ModelError, match="expected every tensor once, found transformer.*lora_A.*under two names"):
        peft_format.read(tmp_path)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("position_embeddings", "expected LoRA on linear layers and the word embeddings, found base_model.model."
                                "transformer.embeddings.position_embeddings.lora_embedding_A"),
        ("word_embeddings", "expected a product of lora_A and lora_B in every layer, found none but on the word "),
    ],
)  # fmt: skip
def test_lora_on_embeddings_xpet_has_no_place_for(target: str, words: str, tmp_path: Path) -> None:
    made_by_peft(tmp_path, towers.tower(torch.float32), target_modules=[target])
    with pytest.raises(ModelError) as error:
        peft_format.read(tmp_path)
    assert words in str(error.value)


@pytest.mark.parametrize("alpha", [-6, 0.3])
def test_any_alpha_is_pefts(alpha: float, tmp_path: Path) -> None:
    """A negative one turns an adapter around, which some do on purpose."""
    tower = towers.tower(torch.float32)
    model, _ = made_by_peft(tmp_path, tower, lora_alpha=alpha)
    config, delta = peft_format.read(tmp_path)
    torch.testing.assert_close(features(config, delta), encoded(model), atol=1e-5, rtol=1e-5)


def test_an_adapter_that_changes_no_word(tmp_path: Path) -> None:
    """PEFT starts A of an embedding at zero, so one that was not trained changes no token at all."""
    model = peft.get_peft_model(
        towers.tower(torch.float32), peft.LoraConfig(r=4, lora_alpha=6, target_modules=["query", "word_embeddings"])
    )
    model.save_pretrained(str(tmp_path))
    config, delta = peft_format.read(tmp_path)
    assert delta[embeddings.TOKENS].tolist() == []
    torch.testing.assert_close(features(config, delta), encoded(model), atol=1e-5, rtol=1e-5)


def test_an_adapter_of_the_bare_transformer(tmp_path: Path) -> None:
    tower = towers.tower(torch.float32)
    _, names = made_by_peft(tmp_path, tower.transformer, modules_to_save=["output.LayerNorm"])
    assert all(name.startswith("base_model.model.encoder.") for name in names)
    config, delta = peft_format.read(tmp_path)
    torch.testing.assert_close(features(config, delta), encoded(tower), atol=1e-5, rtol=1e-5)


def test_pytorch_weights_in_half_precision(tmp_path: Path) -> None:
    made_by_peft(tmp_path, towers.tower(torch.float32))
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_model.safetensors").unlink()
    torch.save({name: value.half() for name, value in tensors.items()}, tmp_path / "adapter_model.bin")
    _, delta = peft_format.read(tmp_path)
    assert {value.dtype for value in delta.values()} == {torch.float32}
    assert len(delta) == len(tensors)


PLAIN = "which xpet does not have; merge the adapter with PEFT (merge_and_unload) and use the checkpoint as --model"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"peft_type": "IA3"}, ": expected a PEFT adapter of type LORA, found IA3"),
        ({"r": "8"}, "/adapter_config.json: expected a rank r and a lora_alpha, found 8 and 6"),
        ({"r": 5}, ": expected products of rank 5 as in adapter_config.json, found 4 in transformer.encoder.layer.0."
                   "attention.self.query"),
        ({"rank_pattern": {"query": 2}}, ": expected products of rank 2 as in adapter_config.json, found 4 in "
                                         "transformer.encoder.layer.0.attention.self.query"),
        ({"rank_pattern": {"query": "2"}}, '/adapter_config.json: expected rank_pattern from names to numbers, found '
                                           '{"query": "2"}'),
        ({"alpha_pattern": {"(": 2}}, '/adapter_config.json: expected alpha_pattern from names to numbers, found '
                                      '{"(": 2}'),
        ({"alpha_pattern": [1]}, "/adapter_config.json: expected alpha_pattern from names to numbers, found [1]"),
        ({"r": True}, "/adapter_config.json: expected a rank r and a lora_alpha, found True and 6"),
        ({"lora_alpha": float("nan")}, "/adapter_config.json: expected a rank r and a lora_alpha, found 4 and nan"),
        ({"use_dora": True}, f"/adapter_config.json: expected plain LoRA, found use_dora = true, {PLAIN}"),
        ({"bias": "all"}, f'/adapter_config.json: expected plain LoRA, found bias = "all", {PLAIN}'),
        ({"init_lora_weights": "pissa"}, f'/adapter_config.json: expected plain LoRA, found init_lora_weights = "pissa"'
                                         f", {PLAIN}"),
        ({"rank_pattern": {"(?i)query": 4}}, "/adapter_config.json: expected rank_pattern from names to numbers, found "
                                             '{"(?i)query": 4}'),
        ({"use_rslora": "false"}, '/adapter_config.json: expected use_rslora true or false, found "false"'),
        ({"use_rslora": 1}, "/adapter_config.json: expected use_rslora true or false, found 1"),
        ({"tomorrow": 1}, f"/adapter_config.json: expected plain LoRA, found tomorrow = 1, {PLAIN}"),
    ],
)  # fmt: skip
def test_settings_xpet_does_not_have(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    made_by_peft(tmp_path, towers.tower(torch.float32))
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text("utf-8")), **changes}), "utf-8")
    with pytest.raises(ModelError) as error:
        peft_format.read(tmp_path)
    assert str(error.value) == f"{tmp_path}{words}"


@pytest.mark.parametrize(
    ("add", "remove", "words"),
    [
        ({"model.layers.0.q.lora_A.weight": 1}, "",
         "expected names of a text tower (transformer.*, LinearTransformation.*) or of a bare transformer "
         "(embeddings.*, encoder.*, pooler.*), found model.layers.0.q.lora_A.weight"),
        ({}, "lora_B.weight", "expected a product of lora_A and lora_B in every layer, found transformer.encoder."
                              "layer.0.attention.self.query"),
        ({}, "lora_", "expected a product of lora_A and lora_B in every layer, found none at all"),
        ({"base_model.model.transformer.embeddings.LayerNorm.weight": 1}, "",
         "expected trained modules output.LayerNorm, LinearTransformation, transformer.pooler.dense beside what was "
         "added, found transformer.embeddings.LayerNorm"),
    ],
)  # fmt: skip
def test_tensors_that_do_not_belong(add: dict[str, int], remove: str, words: str, tmp_path: Path) -> None:
    made_by_peft(tmp_path, towers.tower(torch.float32))
    file = tmp_path / "adapter_model.safetensors"
    tensors = {name: value for name, value in load_file(file).items() if not remove or remove not in name}
    save_file({**tensors, **{name: torch.ones(1, size) for name, size in add.items()}}, file)
    with pytest.raises(ModelError) as error:
        peft_format.read(tmp_path)
    assert str(error.value) == f"{tmp_path}: {words}"


def test_folders_without_weights_or_settings(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("[]")
    with pytest.raises(ModelError, match=r"adapter_config.json: expected a JSON object \(the settings of a PEFT"):
        peft_format.read(tmp_path)
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4, "lora_alpha": 6}')
    with pytest.raises(ModelError, match="expected weights in adapter_model.safetensors or adapter_model.bin, found"):
        peft_format.read(tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"no")
    with pytest.raises(ModelError, match=r"cannot read .*adapter_model.safetensors: damaged or truncated \("):
        peft_format.read(tmp_path)


def test_two_names_of_one_weight_and_products_of_other_shapes(tmp_path: Path) -> None:
    delta, _ = stacked(CONFIGS["alone"])
    written(tmp_path, CONFIGS["alone"], delta)
    file = tmp_path / "adapter_model.safetensors"
    state = load_file(file)
    name = min(state)
    twin = name.replace(".lora_A.", ".lora_A.default.")
    save_file({**state, twin: state[name] + 1}, file)
    with pytest.raises(ModelError, match="expected every tensor once, found .* under two names"):
        peft_format.read(tmp_path)
    for tensor in (torch.tensor(1.0), torch.ones(2), torch.ones(2, 64, 1)):
        save_file({**state, name: tensor}, file)
        with pytest.raises(ModelError, match="expected a product of lora_A and lora_B in every layer, found "):
            peft_format.read(tmp_path)
