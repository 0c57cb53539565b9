"""Text-tower checkpoints: loading in the hub's layouts, strictness, errors, saving."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tests.command import run_here
from tests.rounding import alike
from tests.tiny import POSITIONS, tiny_text_checkpoint, tiny_tokenizer, tiny_transformer, write_weights
from xpet.core.errors import ModelError, OutputError, XpetWarning
from xpet.models.backbones import build_transformer
from xpet.models.checkpoint import load_text_tower, save_text_tower
from xpet.models.encode import encode_texts
from xpet.models.families.m_clip import transformer_config
from xpet.models.text_tower import TextTower
from xpet.models.weights import read_weights

TEXTS = ["a red dog", "ein kleiner Hund auf dem Sofa, 3 Katzen", "犬 と 猫", "", "собака " * 40]
BASES = ["xlm-roberta", "bert"]


def edit(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    """Rewrite the folder's safetensors with its tensors changed."""
    state = {name: tensor.clone() for name, tensor in read_weights(folder).items()}
    change(state)
    write_weights(folder, state)


def one_line_error(folder: Path | str, *expected: str, **options: Any) -> None:
    """Loading fails with one line that holds all the expected words."""
    with pytest.raises(ModelError) as caught:
        load_text_tower(folder, **options)
    message = str(caught.value)
    assert "\n" not in message
    for words in expected:
        assert words in message


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("hidden", [64, 128])
@pytest.mark.parametrize("base", BASES)
def test_equals_an_independent_computation(tmp_path: Path, base: str, hidden: int, attention: str) -> None:
    folder = tiny_text_checkpoint(tmp_path / "ck", base, hidden=hidden)
    state = {name: tensor.double() for name, tensor in read_weights(folder).items()}
    model = tiny_transformer(base, tiny_tokenizer(base).get_vocab_size(), hidden, layers=2).double().eval()
    model.load_state_dict({n.removeprefix("transformer."): t for n, t in state.items() if n.startswith("transformer.")})
    tokenizer = tiny_tokenizer(base)
    tokenizer.enable_truncation(64)
    expected = []
    for text in TEXTS:  # one by one: no padding at all
        ids = torch.tensor([tokenizer.encode(text).ids])
        with torch.no_grad():
            mean = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0].mean(dim=0)
        expected.append(state["LinearTransformation.weight"] @ mean + state["LinearTransformation.bias"])
    loaded = load_text_tower(folder, dtype=torch.float64, attention=attention)
    assert loaded.tower.transformer.config._attn_implementation == attention
    found = encode_texts(loaded.tower, loaded.tokenizer, TEXTS, batch_size=3)
    assert found.shape == (5, 32)
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-10, rtol=0)


def test_loaded_tower_is_frozen_and_the_random_state_untouched(text_checkpoint: Path) -> None:
    before = torch.get_rng_state()
    loaded = load_text_tower(text_checkpoint)
    assert torch.equal(before, torch.get_rng_state())
    assert not loaded.tower.training
    assert not any(parameter.requires_grad for parameter in loaded.tower.parameters())
    assert not any(t.is_meta for t in [*loaded.tower.parameters(), *loaded.tower.buffers()])
    assert loaded.tower.dimensions == 32
    assert loaded.config["modelBase"] == "xlm-roberta-large"


def test_changing_a_loaded_tower_leaves_the_file_alone(tmp_path: Path) -> None:
    for weights in ("safetensors", "bin"):
        folder = tiny_text_checkpoint(tmp_path / weights, weights=weights)
        before = load_text_tower(folder).fingerprint
        tower = load_text_tower(folder).tower
        with torch.no_grad():
            for parameter in tower.parameters():
                parameter.add_(1)
        assert load_text_tower(folder).fingerprint == before


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_trained_weights_in_place_of_all_its_own(tmp_path: Path, dtype: torch.dtype) -> None:
    base, other = tiny_text_checkpoint(tmp_path / "base", dtype=dtype), tiny_text_checkpoint(tmp_path / "other", seed=1)
    trained = read_weights(other)
    loaded = load_text_tower(base, trained=trained)
    assert loaded.fingerprint == load_text_tower(base).fingerprint != load_text_tower(other).fingerprint
    assert all(torch.equal(value, trained[name]) for name, value in loaded.tower.state_dict().items())
    del trained["LinearTransformation.bias"]
    with pytest.raises(ModelError) as error:
        load_text_tower(base, trained=trained)
    words = "the run's delta: the weights do not fit the model: 1 missing: LinearTransformation.bias"
    assert str(error.value) == words


@pytest.mark.parametrize("base", BASES)
def test_every_kind_of_weight_file_gives_the_same_tower(tmp_path: Path, base: str) -> None:
    kinds = ("safetensors", "sharded", "bin")
    folders = [tiny_text_checkpoint(tmp_path / kind, base, weights=kind) for kind in kinds]
    loaded = [load_text_tower(folder) for folder in folders]
    assert len({one.fingerprint for one in loaded}) == 1
    for other in loaded[1:]:
        for name, tensor in loaded[0].tower.state_dict().items():
            assert torch.equal(tensor, other.tower.state_dict()[name])
    other_seed = load_text_tower(tiny_text_checkpoint(tmp_path / "seed", base, seed=1))
    assert other_seed.fingerprint != loaded[0].fingerprint


def test_position_ids_are_tolerated_and_do_not_count(tmp_path: Path) -> None:
    plain = load_text_tower(tiny_text_checkpoint(tmp_path / "plain"))
    older = load_text_tower(tiny_text_checkpoint(tmp_path / "older", weights="bin", position_ids=True))
    assert older.fingerprint == plain.fingerprint
    assert older.tower.state_dict().keys() == plain.tower.state_dict().keys()


def test_pooler_is_kept_where_published_and_not_invented(tmp_path: Path) -> None:
    with_pooler = load_text_tower(tiny_text_checkpoint(tmp_path / "with"))
    without = load_text_tower(tiny_text_checkpoint(tmp_path / "without", pooler=False))
    assert parameter_count(with_pooler.tower) - parameter_count(without.tower) == 64 * 64 + 64
    assert without.tower.transformer.pooler is None


def test_half_precision_checkpoint_and_target(tmp_path: Path) -> None:
    folder = tiny_text_checkpoint(tmp_path / "half", dtype=torch.float16)
    single, brain = load_text_tower(folder), load_text_tower(folder, dtype=torch.bfloat16)
    assert {p.dtype for p in single.tower.parameters()} == {torch.float32}
    assert {p.dtype for p in brain.tower.parameters()} == {torch.bfloat16}
    assert single.fingerprint == brain.fingerprint
    assert encode_texts(brain.tower, brain.tokenizer, TEXTS).dtype == torch.bfloat16


def parameter_count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_xlm_roberta_large_has_the_published_parameter_count() -> None:
    large = {
        "embeddings.word_embeddings.weight": (250002, 1024),
        "embeddings.position_embeddings.weight": (514, 1024),
        "embeddings.token_type_embeddings.weight": (1, 1024),
    } | {f"encoder.layer.{i}.intermediate.dense.weight": (4096, 1024) for i in range(24)}
    tensors = {f"transformer.{name}": torch.empty(shape, device="meta") for name, shape in large.items()}
    config = transformer_config("xlm-roberta-large", {}, tensors)
    with torch.device("meta"):
        tower = TextTower(build_transformer(config, pooler=True), 768)
    assert parameter_count(tower) == 560_677_632
    assert (config.num_attention_heads, config.layer_norm_eps, config.pad_token_id) == (16, 1e-5, 1)


def rewritten(folder: Path, **changes: Any) -> Path:
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    return folder


def with_heads(folder: Path, heads: int, eps: float = 1e-12) -> torch.Tensor:
    """Features of TEXTS by a plain transformers model of BERT with so many heads, pooled and projected by hand."""
    from transformers import BertConfig, BertModel

    state = load_file(folder / "model.safetensors")
    inner = {name.removeprefix("transformer."): value for name, value in state.items() if "transformer." in name}
    vocabulary, hidden = inner["embeddings.word_embeddings.weight"].shape
    model = BertModel(BertConfig(
        vocab_size=vocabulary, hidden_size=hidden, num_hidden_layers=2, num_attention_heads=heads, layer_norm_eps=eps,
        intermediate_size=inner["encoder.layer.0.intermediate.dense.weight"].shape[0],
        max_position_embeddings=inner["embeddings.position_embeddings.weight"].shape[0], type_vocab_size=2,
    )).eval()  # fmt: skip
    model.load_state_dict(inner)
    tokenizer = load_text_tower(rewritten(folder, modelBase="LaBSE", transformerConfig=None)).tokenizer
    ids, mask = tokenizer.pad(tokenizer.encode(TEXTS))
    with torch.no_grad():
        hidden_state = model(input_ids=ids, attention_mask=mask).last_hidden_state
    pooled = (hidden_state * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
    return pooled @ state["LinearTransformation.weight"].T + state["LinearTransformation.bias"]


@pytest.mark.parametrize(
    ("changes", "heads"),
    [
        ({"modelBase": "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"}, 4),
        ({"modelBase": "microsoft/Multilingual-MiniLM-L12-H384"}, 4),
        ({"modelBase": "sentence-transformers/LaBSE"}, 2),
        ({"modelBase": "me/mine",
          "transformerConfig": {"model_type": "bert", "num_attention_heads": 8, "layer_norm_eps": 1e-12}}, 8),
        ({"modelBase": "me/mine", "model_type": "bert", "num_attention_heads": 16, "layer_norm_eps": 1e-12}, 16),
        ({"modelBase": "LaBSE", "num_attention_heads": 1}, 1),
    ],
)  # fmt: skip
def test_attention_heads_are_the_bases_own(changes: dict[str, Any], heads: int, tmp_path: Path) -> None:
    folder = tiny_text_checkpoint(tmp_path / "ck", "bert", hidden=128)
    expected = with_heads(folder, heads)
    loaded = load_text_tower(rewritten(folder, **changes))
    found = encode_texts(loaded.tower, loaded.tokenizer, TEXTS)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)  # batches of other shapes round differently
    if heads != 2:
        assert (with_heads(folder, 2) - found).abs().max() > 1e-3


def test_nothing_is_guessed_of_a_base_that_is_not_known(tmp_path: Path) -> None:
    folder = tiny_text_checkpoint(tmp_path / "ck", "bert")
    one_line_error(
        rewritten(folder, modelBase="someone/else"),
        "the base 'someone/else' is not known, and config.json does not say its model_type, num_attention_heads, "
        'layer_norm_eps, which decide the features: add them, for example "transformerConfig": {"model_type": "bert", ',
    )
    half = {"model_type": "bert", "num_attention_heads": 1}
    one_line_error(rewritten(folder, transformerConfig=half), "does not say its layer_norm_eps, which decide")


def test_round_trip_is_bit_for_bit_and_writes_exactly_these_files(tmp_path: Path) -> None:
    for base in BASES:
        for dtype in (torch.float32, torch.float16):
            first = load_text_tower(tiny_text_checkpoint(tmp_path / f"{base}{dtype}", base, dtype=dtype), dtype=dtype)
            folder = tmp_path / f"saved-{base}{dtype}"
            save_text_tower(folder, first.tower, first.tokenizer, first.config)
            assert {p.name for p in folder.iterdir()} == {
                "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
            }  # fmt: skip
            again = load_text_tower(folder, dtype=dtype)
            assert again.fingerprint == first.fingerprint
            assert again.tower.transformer.config.to_dict() == first.tower.transformer.config.to_dict()
            assert again.tokenizer.encode(TEXTS) == first.tokenizer.encode(TEXTS)
            one = encode_texts(first.tower, first.tokenizer, TEXTS)
            alike(one, encode_texts(again.tower, again.tokenizer, TEXTS))
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_own_checkpoint_keeps_heads_that_no_table_knows(tmp_path: Path) -> None:
    from xpet.models.text_tower import empty_xlm_roberta
    from xpet.models.tokenizer import TextTokenizer

    tokenizer = TextTokenizer(tiny_tokenizer(), 64, 1)
    tower = empty_xlm_roberta(
        16, vocab_size=tokenizer.highest_id + 1, hidden_size=64, num_hidden_layers=1, num_attention_heads=8,
        intermediate_size=64, max_position_embeddings=66, type_vocab_size=1, layer_norm_eps=1e-3,
    ).eval()  # fmt: skip
    save_text_tower(tmp_path / "own", tower, tokenizer)
    again = load_text_tower(tmp_path / "own")
    assert again.tower.transformer.config.num_attention_heads == 8
    alike(encode_texts(tower, tokenizer, TEXTS), encode_texts(again.tower, again.tokenizer, TEXTS))


def test_saving_over_something_or_failing_midway_leaves_it_alone(tmp_path: Path, text_checkpoint: Path) -> None:
    loaded = load_text_tower(text_checkpoint)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="found something there"):
        save_text_tower(tmp_path / "taken", loaded.tower, loaded.tokenizer)

    class Broken:
        def save(self, folder: Path) -> None:
            raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="No space left on device"):
        save_text_tower(tmp_path / "new", loaded.tower, Broken())  # type: ignore[arg-type]
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]
    assert [p.name for p in (tmp_path / "taken").iterdir()] == ["mine.txt"]


def test_missing_and_unexpected_tensors_are_listed(tmp_path: Path) -> None:
    folder = tiny_text_checkpoint(tmp_path / "ck")

    def change(state: dict[str, torch.Tensor]) -> None:
        for name in [name for name in state if "layer.1.attention" in name]:
            del state[name]
        state["classifier.weight"] = torch.zeros(2, 2)

    edit(folder, change)
    one_line_error(
        folder, "10 missing: transformer.encoder.layer.1.attention.output.LayerNorm.bias", "and 7 more",
        "1 unexpected: classifier.weight",
    )  # fmt: skip


def test_misshapen_tensors_and_contradicting_dimensions(tmp_path: Path) -> None:
    folder = tiny_text_checkpoint(tmp_path / "a")
    edit(folder, lambda state: state.update({"transformer.embeddings.LayerNorm.bias": torch.zeros(3)}))
    one_line_error(folder, "1 wrong shape: transformer.embeddings.LayerNorm.bias (3,) instead of (64,)")
    folder = tiny_text_checkpoint(tmp_path / "b")
    config = json.loads((folder / "config.json").read_text()) | {"numDims": 768}
    (folder / "config.json").write_text(json.dumps(config))
    one_line_error(folder, "disagree: numDims 768 against 32; correct config.json or fetch both again")


@pytest.mark.parametrize("weights", ["safetensors", "sharded", "bin"])
@pytest.mark.parametrize("keep", [0, 7, 0.5, 0.99])
def test_truncated_weights(tmp_path: Path, weights: str, keep: float) -> None:
    folder = tiny_text_checkpoint(tmp_path / "ck", weights=weights)
    file = sorted(p for p in folder.iterdir() if p.suffix in (".safetensors", ".bin"))[-1]
    content = file.read_bytes()
    file.write_bytes(content[: int(keep * len(content)) if keep < 1 else int(keep)])
    one_line_error(folder, file.name, "fetch it again")


def test_missing_shard_and_index_that_leaves_the_folder(tmp_path: Path) -> None:
    folder = tiny_text_checkpoint(tmp_path / "ck", weights="sharded")
    (folder / "model-00002-of-00002.safetensors").unlink()
    one_line_error(folder, "expected the shard model-00002-of-00002.safetensors")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"x": "../other/model.safetensors"}}')
    one_line_error(folder, "expected names of weight files beside it")


class Bomb:
    """Unpickling it would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("zipped", [True, False])
def test_pickle_bomb_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    folder = tiny_text_checkpoint(tmp_path / "ck", weights="bin")
    state: dict[str, Any] = {**read_weights(folder), "bomb": Bomb(tmp_path / "boom")}
    state = {name: value.clone() if isinstance(value, torch.Tensor) else value for name, value in state.items()}
    torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    one_line_error(folder, "holds other things than tensors", "nothing in it was run")
    assert not (tmp_path / "boom").exists()


def test_legacy_pytorch_files_load(tmp_path: Path) -> None:
    folder = tiny_text_checkpoint(tmp_path / "ck", weights="bin")
    expected = load_text_tower(folder).fingerprint
    state = {name: tensor.clone() for name, tensor in read_weights(folder).items()}
    torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert load_text_tower(folder).fingerprint == expected


def test_folders_that_are_no_text_checkpoint(tmp_path: Path, text_checkpoint: Path, image_checkpoint: Path) -> None:
    (tmp_path / "empty").mkdir()
    one_line_error(tmp_path / "empty", "expected a checkpoint with a text tower, found an empty folder")
    one_line_error(image_checkpoint, "found a model of type 'clip_vision_model', an image tower alone")
    one_line_error(tmp_path / "nowhere", "found no such folder")
    one_line_error(text_checkpoint / "config.json", "expected a checkpoint folder, found a file")
    for name in ("model.safetensors", "tokenizer.json"):
        folder = tmp_path / f"no-{name}"
        shutil.copytree(text_checkpoint, folder)
        (folder / name).unlink()
        one_line_error(folder, name, "found neither")
    folder = tmp_path / "bad-json"
    shutil.copytree(text_checkpoint, folder)
    (folder / "config.json").write_text('{"modelBase": ')
    one_line_error(folder, "cannot read", "config.json")


def test_other_layouts(tmp_path: Path) -> None:
    folder = tiny_text_checkpoint(tmp_path / "ck")
    write_weights(folder, nn.Linear(3, 4).state_dict())
    one_line_error(folder, "not in the M-CLIP layout", "first tensor: bias")


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"num_attention_heads": 7}, "heads that divide the 64 channels, found 7"),
        ({"num_attention_heads": True}, "not valid: expected a whole number of attention heads as num_attention_heads"),
        ({"num_attention_heads": 2.0}, "a whole number of attention heads as num_attention_heads, found 2.0"),
        ({"num_attention_heads": "2"}, "a whole number of attention heads as num_attention_heads, found '2'"),
        ({"model_type": "gpt2"}, "found 'gpt2'"),
        ({"model_type": ["bert"]}, "found '['bert']'"),
        ({"model_type": None}, ""),
        ({"hidden_act": "nonsense"}, "cannot be built"),
        ({"hidden_act": 3}, "not valid"),
        ({"layer_norm_eps": "small"}, "not valid: expected a number between 0 and 1 as layer_norm_eps, found 'small'"),
        ({"layer_norm_eps": float("nan")}, "expected a number between 0 and 1 as layer_norm_eps, found nan"),
        ({"layer_norm_eps": 1e30}, "expected a number between 0 and 1 as layer_norm_eps, found 1e+30"),
        ({"layer_norm_eps": 0}, "expected a number between 0 and 1 as layer_norm_eps, found 0"),
        ({"hidden_dropout_prob": 1}, "expected a number from 0 to less than 1 as hidden_dropout_prob"),
        ({"pad_token_id": 10**6}, "cannot be built"),
        ({"pad_token_id": 10**40}, "expected a token's number as pad_token_id, found 1000"),
        ({"pad_token_id": -1}, "expected a token's number as pad_token_id, found -1"),
        ({"pad_token_id": None}, ""),
        ({"num_hidden_layers": 24}, "config.json: expected num_hidden_layers 2 in the weights, found 24"),
        ({"hidden_size": "64"}, "config.json: expected hidden_size 64 in the weights, found '64'"),
        (
            {"position_embedding_type": "relative_key"},
            "position_embedding_type absolute as xpet has it, found",
        ),
        ({"is_decoder": True}, "expected is_decoder False as xpet has it, found True"),
        ("text", "expected transformerConfig to be an object, found str"),
        ([], ""),
    ],
)
def test_bad_transformer_config(tmp_path: Path, written: Any, words: str) -> None:
    folder = tiny_text_checkpoint(tmp_path / "ck")
    config = json.loads((folder / "config.json").read_text()) | {"transformerConfig": written}
    (folder / "config.json").write_text(json.dumps(config))
    if words:
        one_line_error(folder, words)
    else:
        assert load_text_tower(folder).tower.dimensions == 32


@pytest.mark.parametrize("base", [3, True, ["xlm-roberta-base"], {}])
def test_names_of_bases_that_are_none(tmp_path: Path, base: Any) -> None:
    folder = rewritten(tiny_text_checkpoint(tmp_path / "ck"), modelBase=base)
    one_line_error(folder, "expected a name as modelBase in config.json, found ")


@pytest.mark.parametrize(("hidden", "name"), [(384, "xlm-roberta-large"), (96, "xlm-roberta-base"), (96, "LaBSE")])
def test_a_width_that_the_base_cannot_have(tmp_path: Path, hidden: int, name: str) -> None:
    """384 channels are MiniLM's, with other heads than those of its teachers; 96 hold no heads of 64."""
    folder = tiny_text_checkpoint(tmp_path / "ck", "bert" if name == "LaBSE" else "xlm-roberta", hidden=hidden)
    one_line_error(
        rewritten(folder, modelBase=name),
        f"the base '{name}' has attention heads of 64 channels, which a tower of {hidden} channels is not known to "
        'have: add its own to config.json, "transformerConfig": {"num_attention_heads": N}',
    )
    rewritten(folder, transformerConfig={"num_attention_heads": 8})
    assert load_text_tower(folder).tower.transformer.config.num_attention_heads == 8


def test_a_tower_narrower_than_one_head_of_its_base(tmp_path: Path) -> None:
    folder = tiny_text_checkpoint(tmp_path / "ck", hidden=32)
    with pytest.warns(XpetWarning, match="heads of 64 channels, this tower of 32 is taken to have one"):
        assert load_text_tower(folder).tower.transformer.config.num_attention_heads == 1


def test_what_is_assumed_is_one_line_on_the_terminal(tmp_path: Path) -> None:
    folder = tiny_text_checkpoint(tmp_path / "ck", hidden=32)
    done = run_here("eval", "--model", folder, "--image-model", tmp_path / "none", "--data", "demo")
    assert done.returncode == 2
    warned, error = done.stderr.decode().splitlines()
    assert warned.startswith("xpet: warning: the base 'xlm-roberta-large' has attention heads of 64 channels, this ")
    assert error.startswith("xpet: error: ")


def test_minilm_of_its_published_width(tmp_path: Path) -> None:
    folder = tiny_text_checkpoint(tmp_path / "ck", "bert", hidden=384)
    rewritten(folder, modelBase="intfloat/multilingual-e5-small")
    assert load_text_tower(folder).tower.transformer.config.num_attention_heads == 12


def test_a_base_of_the_other_family_is_not_known(tmp_path: Path) -> None:
    folder = rewritten(tiny_text_checkpoint(tmp_path / "ck"), transformerConfig={"model_type": "bert"})
    one_line_error(
        folder,
        "the base 'xlm-roberta-large' is no bert, and config.json does not say its num_attention_heads, layer_no",
    )


@pytest.mark.parametrize("base", BASES)
def test_the_bases_own_configuration_needs_no_name(tmp_path: Path, base: str) -> None:
    """As Kandinsky's text encoder is published: the base's whole config.json with M-CLIP's sizes, no modelBase."""
    folder = tiny_text_checkpoint(tmp_path / "ck", base, hidden=128)
    model = tiny_transformer(base, tiny_tokenizer(base).get_vocab_size(), 128, layers=2)
    published = {k: v for k, v in model.config.to_dict().items() if k != "dtype"}
    expected = load_text_tower(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({k: v for k, v in {**config, **published}.items() if k != "modelBase"})
    )
    found = load_text_tower(folder)
    assert found.tower.transformer.config.num_attention_heads == 2
    one, two = (encode_texts(loaded.tower, loaded.tokenizer, TEXTS) for loaded in (expected, found))
    torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)


def test_a_tokenizer_beside_the_folder(tmp_path: Path) -> None:
    """As in diffusers' folders, Kandinsky's among them: text_encoder/ and tokenizer/."""
    folder = tiny_text_checkpoint(tmp_path / "text_encoder", hidden=128)
    expected = load_text_tower(folder).tokenizer.encode(TEXTS)
    (tmp_path / "tokenizer").mkdir()
    (folder / "tokenizer.json").rename(tmp_path / "tokenizer" / "tokenizer.json")
    assert load_text_tower(folder).tokenizer.encode(TEXTS) == expected
    (tmp_path / "tokenizer" / "tokenizer.json").unlink()
    one_line_error(
        folder, f"{folder}: expected a tokenizer in tokenizer.json or sentencepiece.bpe.model, found neither"
    )


def test_tokenizer_larger_than_the_embeddings(tmp_path: Path) -> None:
    folder = tiny_text_checkpoint(tmp_path / "ck")
    name = "transformer.embeddings.word_embeddings.weight"
    edit(folder, lambda state: state.update({name: state[name][:100]}))
    one_line_error(folder, "expected ids below 100")


def test_hub_names_without_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub import constants

    name = "M-CLIP/XLM-Roberta-Large-Vit-L-14"
    one_line_error(name, f"'{name}': expected a local folder or a model in the local cache", allow_download=False)

    def fail(*args: object, **options: object) -> None:
        raise OSError("no route to host\nsecond line")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", fail)
    one_line_error(name, "on the hub, found neither: no route to host; check the name and the connection")


@pytest.mark.parametrize(
    ("published", "fetched"),
    [
        (["config.json", "model.safetensors", "pytorch_model.bin"], "model.safetensors"),
        (["config.json", "pytorch_model.bin", "onnx/model.safetensors"], "pytorch_model.bin"),
    ],
)
def test_hub_download_prefers_safetensors(
    monkeypatch: pytest.MonkeyPatch, text_checkpoint: Path, published: list[str], fetched: str
) -> None:
    import huggingface_hub
    from huggingface_hub import constants

    asked: dict[str, Any] = {}

    def download(name: str, **options: Any) -> str:
        asked.update(options)
        return str(text_checkpoint)

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    siblings = [SimpleNamespace(rfilename=name) for name in published]
    monkeypatch.setattr(
        huggingface_hub.HfApi, "model_info", lambda self, name, timeout: SimpleNamespace(siblings=siblings)
    )
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert load_text_tower("someone/tower").tower.dimensions == 32
    weights = {pattern for pattern in asked["allow_patterns"] if pattern in ("model.safetensors", "pytorch_model.bin")}
    assert weights == {fetched}
    assert "tf_model.h5" not in asked["allow_patterns"]


def test_positions_of_both_families_leave_room_for_64_tokens(tmp_path: Path) -> None:
    for base in BASES:
        loaded = load_text_tower(tiny_text_checkpoint(tmp_path / base, base))
        assert loaded.tower.transformer.config.max_position_embeddings == POSITIONS[base]
        assert loaded.tokenizer.limit == 64
