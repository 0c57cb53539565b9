"""Tiny random checkpoints in the exact layouts of the hub, made without xpet's own code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from tokenizers import Tokenizer

WORDS = (
    "a an the of on in two three red blue green big small dog cat man woman ein eine der die das und un une le la el"
)
RANGES = ((0x21, 0x7F), (0xA1, 0x180), (0x410, 0x450), (0x3041, 0x30FF))  # Latin, Cyrillic, kana; no Han, no Hangul
BASES = {"xlm-roberta": "xlm-roberta-large", "bert": "sentence-transformers/LaBSE"}
POSITIONS = {"xlm-roberta": 66, "bert": 64}  # both leave room for 64 tokens


def tiny_tokenizer(base: str = "xlm-roberta") -> Tokenizer:
    """A character tokenizer with a few whole words; Han and Hangul are unknown to it."""
    return {"xlm-roberta": _sentencepiece_like, "bert": _wordpiece}[base]()


def _characters() -> list[str]:
    return [chr(code) for first, last in RANGES for code in range(first, last)]


def _sentencepiece_like() -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -3.0)]
    pieces += [(f"\u2581{word}", -4.0) for word in WORDS.split()] + [(c, -8.0) for c in _characters()]
    tokenizer = Tokenizer(models.Unigram([*pieces, ("<mask>", 0.0)], unk_id=3))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    return tokenizer


def _wordpiece() -> Tokenizer:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = dict.fromkeys([*special, *WORDS.split(), *_characters(), *(f"##{c}" for c in _characters())])
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens(special)
    return tokenizer


def tiny_transformer(base: str, vocabulary: int, hidden: int, layers: int, pooler: bool = True) -> torch.nn.Module:
    """A transformers model of the family, with heads of 64 channels as in every published base."""
    from transformers import BertConfig, BertModel, XLMRobertaConfig, XLMRobertaModel

    shared: dict[str, Any] = {
        "vocab_size": vocabulary, "hidden_size": hidden, "num_hidden_layers": layers,
        "num_attention_heads": max(1, hidden // 64), "intermediate_size": 2 * hidden,
        "max_position_embeddings": POSITIONS[base], "initializer_range": 0.2,
    }  # fmt: skip
    if base == "bert":
        return BertModel(BertConfig(type_vocab_size=2, layer_norm_eps=1e-12, **shared), add_pooling_layer=pooler)
    return XLMRobertaModel(XLMRobertaConfig(type_vocab_size=1, layer_norm_eps=1e-5, **shared), add_pooling_layer=pooler)


def tiny_text_checkpoint(
    folder: str | Path,
    base: str = "xlm-roberta",
    hidden: int = 64,
    layers: int = 2,
    dims: int = 32,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    *,
    weights: str = "safetensors",
    pooler: bool = True,
    position_ids: bool = False,
) -> Path:
    """An M-CLIP checkpoint as on the hub; `weights` is 'safetensors', 'sharded' or 'bin'. Returns the folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tiny_tokenizer(base)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformer = tiny_transformer(base, tokenizer.get_vocab_size(), hidden, layers, pooler)
        head = torch.nn.Linear(hidden, dims)
    state = {f"transformer.{name}": tensor.to(dtype) for name, tensor in transformer.state_dict().items()}
    state |= {f"LinearTransformation.{name}": tensor.to(dtype) for name, tensor in head.state_dict().items()}
    if position_ids:
        state["transformer.embeddings.position_ids"] = torch.arange(POSITIONS[base]).unsqueeze(0)
    write_json(
        folder / "config.json",
        {
            "architectures": ["MultilingualCLIP"],
            "modelBase": BASES[base],
            "model_type": "M-CLIP",
            "numDims": dims,
            "torch_dtype": "float32",
            "transformerDimensions": hidden,
            "transformers_version": "4.8.1",
        },
    )
    write_weights(folder, state, weights)
    _write_tokenizer(folder, tokenizer, base)
    return folder


def write_json(path: Path, value: object) -> None:
    """One JSON document, as transformers formats it."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def write_weights(folder: Path, state: dict[str, torch.Tensor], weights: str = "safetensors") -> None:
    """The state as model.safetensors, two shards with an index, or pytorch_model.bin."""
    from safetensors.torch import save_file

    state = {name: tensor.detach().clone().contiguous() for name, tensor in state.items()}
    if weights == "bin":
        torch.save(state, folder / "pytorch_model.bin")
    elif weights == "safetensors":
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    else:
        names = sorted(state)
        where: dict[str, str] = {}
        for number, part in enumerate((names[::2], names[1::2]), start=1):
            file = f"model-{number:05d}-of-00002.safetensors"
            save_file({name: state[name] for name in part}, folder / file, metadata={"format": "pt"})
            where |= dict.fromkeys(part, file)
        write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": where})


def _write_tokenizer(folder: Path, tokenizer: Tokenizer, base: str) -> None:
    marks = {
        "xlm-roberta": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "sep_token": "</s>",
                        "pad_token": "<pad>", "cls_token": "<s>", "mask_token": "<mask>"},
        "bert": {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]",
                 "mask_token": "[MASK]"},
    }[base]  # fmt: skip
    kinds: dict[str, dict[str, Any]] = {
        "xlm-roberta": {"tokenizer_class": "XLMRobertaTokenizer"},
        "bert": {"tokenizer_class": "BertTokenizer", "do_lower_case": False},
    }
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "special_tokens_map.json", marks)
    write_json(folder / "tokenizer_config.json", {**marks, **kinds[base], "model_max_length": 512})


def tiny_image_checkpoint(
    folder: str | Path, dims: int = 32, seed: int = 0, *, whole: bool = False, weights: str = "safetensors"
) -> Path:
    """A CLIP image tower on 32 x 32 pixels; `whole` adds a text tower, as openai's checkpoints do."""
    from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig, CLIPVisionModelWithProjection

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    shared: dict[str, Any] = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "projection_dim": dims,
    }  # fmt: skip
    vision = {**shared, "image_size": 32, "patch_size": 8}
    text = {**shared, "vocab_size": 64, "max_position_embeddings": 16, "bos_token_id": 0, "eos_token_id": 1,
            "pad_token_id": 2}  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: torch.nn.Module = CLIPVisionModelWithProjection(CLIPVisionConfig(**vision))
        if whole:
            model = CLIPModel(CLIPConfig(projection_dim=dims, text_config=text, vision_config=vision))
    config = model.config.to_dict()  # type: ignore[union-attr, operator]
    write_json(folder / "config.json", {k: v for k, v in config.items() if k != "dtype"})
    write_weights(folder, dict(model.state_dict()), weights)
    write_json(
        folder / "preprocessor_config.json",
        {
            "crop_size": 32, "size": 32, "resample": 3, "do_center_crop": True, "do_normalize": True,
            "do_resize": True, "feature_extractor_type": "CLIPFeatureExtractor",
            "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
        },
    )  # fmt: skip
    return folder


def tiny_clip(folder: Path, dimensions: int = 32, legacy: bool = False) -> Path:
    """A tiny random whole CLIP checkpoint: both towers, pre-processing and a byte tokenizer with a few merges.

    `legacy`: its configuration names a wrong end token, as those of OpenAI's checkpoints do.
    """
    from tokenizers import pre_tokenizers
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizer
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*letters, *(letter + "</w>" for letter in letters)]
    merges = [("o", "g</w>"), ("d", "og</w>"), ("r", "e"), ("re", "d</w>")]
    pieces += ["".join(pair) for pair in merges] + ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges)
    shape: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    end = len(pieces) - 1
    text = {**shape, "vocab_size": len(pieces), "eos_token_id": 2 if legacy else end, "bos_token_id": end - 1}
    vision = {**shape, "image_size": 32, "patch_size": 8}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=dimensions))
        for parameter in model.parameters():
            parameter.data = torch.randn_like(parameter) * 0.2
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=32).save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(map(" ".join, merges)) + "\n", encoding="utf-8")
    return folder
