"""Tiny random checkpoints of every family in the layout it is published in, and what the family's own library does.

Nothing of xpet is used here. Towers are 32 wide with 2 layers; weights are large, so that nothing drowns.
"""

from __future__ import annotations

import html
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests.tiny import tiny_clip, tiny_tokenizer, write_json, write_weights

ODD = (
    "a red dog", "", "A BIG RED DOG", "ein kleiner Hund, 3 Katzen!", "犬 と 猫", "🐕 🐈", "كلب אדום",
    "a red dog " * 1000, " \t two  dogs\n",
)  # fmt: skip
"""Texts that tokenizers like to differ on."""
SHAPE: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
}  # fmt: skip
DIMENSIONS = 32


@dataclass(frozen=True)
class Published:
    """One family's sample.

    Attributes:
        make: writes the checkpoint into a new folder.
        features: un-normalised features of texts by the family's own library, from a folder; asserts that every tensor
            was found, and no other.
        kept: names of tensors that are not the text tower's, as they begin on the disk.
        whole: name of transformers' class of both halves; empty where there is no image tower in the checkpoint.
        vision: un-normalised features of pixels, where that is no class of transformers.
        family: name of the family, where the sample has another.
        language: that `features` takes texts to be in, where that matters.
    """

    make: Callable[[Path], None]
    features: Callable[[Path, Sequence[str], torch.dtype], Tensor]
    kept: tuple[str, ...] = ()
    whole: str = ""
    vision: Callable[[Path, Tensor], Tensor] | None = None
    family: str = ""
    language: str = ""

    def images(self, folder: Path, pixels: Tensor) -> Tensor:
        """Un-normalised features of pixels by the class of both halves."""
        if self.vision is not None:
            return self.vision(folder, pixels)
        missing = () if self.whole != "SiglipModel" else headless(folder)
        with torch.inference_mode():
            found: Tensor = (
                _model(self.whole, folder, missing=missing).get_image_features(pixel_values=pixels).pooler_output
            )
        return found.clone()


def shaken(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model with random weights, LayerNorms and biases included."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator) * 0.2
            parameter.copy_(1 + noise if "norm" in name.lower() and name.endswith("weight") else noise)
    return model.eval()


def _sentence_transformers(folder: Path) -> None:
    from transformers import DistilBertConfig, DistilBertModel

    tokenizer = tiny_tokenizer("bert")
    config = DistilBertConfig(
        vocab_size=tokenizer.get_vocab_size(), dim=32, hidden_dim=64, n_layers=2, n_heads=2, max_position_embeddings=140
    )
    folder.mkdir(parents=True)
    shaken(DistilBertModel(config)).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    (folder / "vocab.txt").write_text("\n".join(word for word, _ in vocabulary) + "\n", encoding="utf-8")
    marks = {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]"}
    kind = {"tokenizer_class": "DistilBertTokenizer", "do_lower_case": False, "strip_accents": None}
    write_json(folder / "tokenizer_config.json", {**marks, **kind, "model_max_length": 512})
    classes = {"": "Transformer", "1_Pooling": "Pooling", "2_Dense": "Dense"}
    rows = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(classes.items())
    ]
    write_json(folder / "modules.json", rows)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 128, "do_lower_case": False})
    for path in ("1_Pooling", "2_Dense"):
        (folder / path).mkdir()
    pooling = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": False}
    write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 32, **pooling})
    dense = {"in_features": 32, "out_features": DIMENSIONS, "bias": False}
    write_json(
        folder / "2_Dense" / "config.json",
        {**dense, "activation_function": "torch.nn.modules.linear.Identity"},
    )
    head = shaken(nn.Linear(32, DIMENSIONS, bias=False), 1)
    write_weights(folder / "2_Dense", {f"linear.{name}": value for name, value in head.state_dict().items()}, "bin")


def _by_sentence_transformers(folder: Path, texts: Sequence[str], dtype: torch.dtype) -> Tensor:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    features = model.to(dtype).encode(list(texts), convert_to_tensor=True, show_progress_bar=False)
    assert isinstance(features, Tensor)
    return features


def _xlmr_tokenizer(folder: Path, limit: int) -> None:
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    marks = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>", "cls_token": "<s>"}
    write_json(
        folder / "tokenizer_config.json",
        {**marks, "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": limit},
    )


def _clip_processing(folder: Path) -> None:
    write_json(
        folder / "preprocessor_config.json",
        {
            "crop_size": 16, "size": 16, "resample": 3, "do_center_crop": True, "do_normalize": True, "do_resize": True,
            "feature_extractor_type": "CLIPFeatureExtractor", "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_std": [0.26862954, 0.26130258, 0.27577711],
        },
    )  # fmt: skip


VISION = {**SHAPE, "image_size": 16, "patch_size": 8}


def _altclip(folder: Path) -> None:
    from transformers import AltCLIPConfig, AltCLIPModel

    vocabulary = tiny_tokenizer().get_vocab_size()
    text = {**SHAPE, "vocab_size": vocabulary, "max_position_embeddings": 50, "project_dim": 24}
    config = AltCLIPConfig(text_config=text, vision_config=VISION, projection_dim=DIMENSIONS)
    _saved_whole(AltCLIPModel(config), folder)
    state = {
        name.replace("vision_model.encoder.layer.", "vision_model.encoder.layers."): value  # as it is published
        for name, value in load_state(folder).items()
    }
    state["text_model.roberta.embeddings.position_ids"] = torch.arange(50).unsqueeze(0)  # of an older transformers
    write_weights(folder, state)
    document = json.loads((folder / "config.json").read_text()) | {"direct_kd": False, "num_layers": 3}
    write_json(folder / "config.json", document)
    _xlmr_tokenizer(folder, 48)


def _clip(folder: Path, legacy: bool = False) -> None:
    tiny_clip(folder, DIMENSIONS, legacy)
    document = json.loads((folder / "config.json").read_text())
    state = load_state(folder)
    state["text_model.embeddings.position_ids"] = torch.arange(77).unsqueeze(0)  # of an older transformers
    write_weights(folder, state)
    write_json(folder / "config.json", document | {"transformers_version": None})


def _metaclip_2(folder: Path) -> None:
    from transformers import MetaClip2Config, MetaClip2Model

    vocabulary = tiny_tokenizer().get_vocab_size()
    text = {**SHAPE, "vocab_size": vocabulary, "max_position_embeddings": 24, "eos_token_id": 2, "bos_token_id": 0}
    sizes = {"projection_dim": DIMENSIONS}
    config = MetaClip2Config(text_config={**text, **sizes}, vision_config={**VISION, **sizes}, **sizes)
    _saved_whole(MetaClip2Model(config), folder)
    _xlmr_tokenizer(folder, 24)


def _chinese_clip(folder: Path) -> None:
    from transformers import ChineseCLIPConfig, ChineseCLIPModel

    pieces = sorted((words := tiny_tokenizer("bert").get_vocab()), key=words.__getitem__)
    pieces += ["中", "犬", "\u2028", "猫", "##犬"]  # U+2028 is among the pieces of the published vocabulary
    text = {**SHAPE, "vocab_size": len(pieces), "max_position_embeddings": 64, "type_vocab_size": 2}
    config = ChineseCLIPConfig(text_config=text, vision_config=VISION, projection_dim=DIMENSIONS)
    _saved_whole(ChineseCLIPModel(config), folder)
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces), encoding="utf-8")
    state = load_state(folder)
    state["text_model.embeddings.position_ids"] = torch.arange(64).unsqueeze(0)  # of an older transformers
    write_weights(folder, state)
    processing = json.loads((folder / "preprocessor_config.json").read_text())
    del processing["crop_size"]
    square = {"do_center_crop": False, "size": {"height": 16, "width": 16}}
    kind = {"feature_extractor_type": "ChineseCLIPFeatureExtractor"}
    write_json(folder / "preprocessor_config.json", processing | square | kind)


SIGLIP: dict[str, Any] = {**SHAPE, "model_type": "siglip_text_model", "max_position_embeddings": 12}
"""A text configuration with 12 positions in place of 64."""


def _siglip(folder: Path, has_head: bool = True) -> None:
    """SigLIP: spiece.model and no tokenizer.json, pictures squeezed; without a head as the multilingual so400m."""
    import sentencepiece

    pieces = siglip_pieces()
    size = sentencepiece.SentencePieceProcessor(model_proto=pieces).get_piece_size()
    _siglip_whole(folder, {"vocab_size": size}, has_head)
    (folder / "spiece.model").write_bytes(pieces)
    marks = {"eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>", "model_max_length": 64}
    write_json(folder / "tokenizer_config.json", {**marks, "tokenizer_class": "SiglipTokenizer", "do_lower_case": True})


def _siglip_2(folder: Path) -> None:
    """SigLIP 2: Gemma's tokenizer.json, which says nothing of lower case, and a head wider than the text tower."""
    tokenizer = _gemma_like()
    _siglip_whole(folder, {"vocab_size": tokenizer.get_vocab_size(), "projection_size": 48})
    tokenizer.save(str(folder / "tokenizer.json"))
    marks = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    flags = {"add_bos_token": False, "add_eos_token": True, "padding_side": "right", "model_max_length": 64}
    write_json(folder / "tokenizer_config.json", {**marks, **flags, "tokenizer_class": "GemmaTokenizer"})


def _siglip_whole(folder: Path, text: dict[str, Any], has_head: bool = True) -> None:
    from transformers import SiglipConfig, SiglipModel

    text = {**SIGLIP, **text}
    wide = text.get("projection_size", 32)
    vision = {"hidden_size": wide, "intermediate_size": 64, "num_hidden_layers": 2, "image_size": 16, "patch_size": 8}
    vision = {**vision, "num_attention_heads": 2, "model_type": "siglip_vision_model"}
    _saved_whole(SiglipModel(SiglipConfig(text_config=text, vision_config=vision)), folder)
    if not has_head:
        text["no_head"] = True
        state = {name: value for name, value in load_state(folder).items() if "text_model.head" not in name}
        write_weights(folder, state)
    # what has the class's own value is not written, as in the published files
    write_json(folder / "config.json", {"model_type": "siglip", "text_config": text, "vision_config": vision})
    sides = {"height": 16, "width": 16}
    processing = {"do_resize": True, "do_rescale": True, "do_normalize": True, "size": sides, "resample": 2}
    means = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "processor_class": "SiglipProcessor"}
    write_json(
        folder / "preprocessor_config.json", {**processing, **means, "image_processor_type": "SiglipImageProcessor"}
    )


def _gemma_like() -> Any:
    """A byte-fallback BPE with Gemma's special tokens, normalisation and splitting."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    marks = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    pieces = [*marks, *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", *map(chr, range(33, 127)), "犬", "猫"]
    merges = [("d", "o"), ("do", "g"), ("\u2581", "r"), ("\u2581r", "e"), ("\u2581", "dog"), ("t", "w")]
    pieces += ["".join(pair) for pair in merges]
    tokenizer = Tokenizer(
        models.BPE(vocab={piece: n for n, piece in enumerate(pieces)}, merges=merges, fuse_unk=True,
                   unk_token="<unk>", byte_fallback=True)
    )  # fmt: skip
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens(marks)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    return tokenizer


def siglip_pieces() -> bytes:
    """A trained SentencePiece unigram model: bytes for what it does not know, </s> as id 1, its own normaliser."""
    import io

    import sentencepiece

    lines = [f"a {colour} {animal}" for colour in ("red", "big", "two") for animal in ("dog", "cat", "man")] * 4
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*lines, "ein kleiner Hund 3 Katzen 犬 猫"]), model_writer=out, vocab_size=320, pad_id=0,
        eos_id=1, unk_id=2, bos_id=-1, byte_fallback=True, hard_vocab_limit=False, minloglevel=2, num_threads=1,
    )  # fmt: skip
    return out.getvalue()


def headless(folder: Path) -> tuple[str, ...]:
    """Names of the tensors of a head that transformers makes up and the checkpoint does not have."""
    head = ("text_model.head.weight", "text_model.head.bias")
    return () if head[0] in load_state(folder) else head


def _by_siglip(folder: Path, texts: Sequence[str], dtype: torch.dtype) -> Tensor:
    """Rows of exactly as many tokens as there are positions, and no mask; without a head the state itself."""
    from transformers import Siglip2Tokenizer, SiglipTokenizer

    pieces = folder / "spiece.model"
    tokenizer: Any
    if pieces.exists():
        tokenizer = SiglipTokenizer(str(pieces))
    else:
        tokenizer = Siglip2Tokenizer.from_pretrained(folder)
    rows = tokenizer(list(texts), padding="max_length", truncation=True, max_length=12)["input_ids"]
    missing = headless(folder)
    model = _model("SiglipModel", folder, dtype, missing)
    with torch.inference_mode():
        found = model.get_text_features(input_ids=torch.tensor(rows))
    return (found.last_hidden_state[:, -1] if missing else found.pooler_output).clone()  # type: ignore[no-any-return]


def _saved_whole(model: Any, folder: Path) -> None:
    """A model with both halves as save_pretrained writes it, its pre-processing, and files that nobody knows."""
    shaken(model).save_pretrained(folder)  # type: ignore[operator]
    _clip_processing(folder)
    (folder / "notes.txt").write_text("ours\n")
    (folder / "assets").mkdir()
    (folder / "assets" / "more.json").write_text("[1]\n")


def load_state(folder: Path) -> dict[str, Tensor]:
    """The tensors of a folder."""
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def _model(name: str, folder: Path, dtype: torch.dtype = torch.float32, missing: Sequence[str] = ()) -> Any:
    """A model of transformers, read without anything left over, or missing but what is said to be."""
    import transformers

    model, found = getattr(transformers, name).from_pretrained(folder, output_loading_info=True, dtype=dtype)
    assert not any(found[key] for key in ("unexpected_keys", "mismatched_keys")), found
    assert sorted(found["missing_keys"]) == sorted(missing)
    return model.eval()


def _by_transformers(name: str, pad: int, limit: int) -> Callable[[Path, Sequence[str], torch.dtype], Tensor]:
    def features(folder: Path, texts: Sequence[str], dtype: torch.dtype) -> Tensor:
        ids = tokens(folder, texts, limit)
        longest = max(map(len, ids))
        padded = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in ids])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids])
        with torch.inference_mode():
            found: Tensor = (
                _model(name, folder, dtype).get_text_features(input_ids=padded, attention_mask=mask).pooler_output
            )
        return found.clone()

    return features


def tokens(folder: Path, texts: Sequence[str], limit: int) -> list[list[int]]:
    """Token ids by transformers' own tokenizer of a folder."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    found: list[list[int]] = tokenizer(list(texts), truncation=True, max_length=limit)["input_ids"]
    return found


OPEN_CLIP_MODEL: dict[str, Any] = {
    "embed_dim": DIMENSIONS,
    "vision_cfg": {"image_size": 16, "layers": 2, "width": 48, "head_width": 16, "patch_size": 8},
    "text_cfg": {
        "hf_model_name": "xlm-roberta-base", "hf_tokenizer_name": "xlm-roberta-base", "hf_pooler_type": "mean_pooler",
        "context_length": 40,
    },
}  # fmt: skip


class OpenClipBlock(nn.Module):
    """A layer of open_clip's vision transformer, by the names of its modules."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        layers = {"c_fc": nn.Linear(width, 4 * width), "gelu": nn.GELU(), "c_proj": nn.Linear(4 * width, width)}
        self.mlp = nn.Sequential(OrderedDict(layers))

    def forward(self, states: Tensor) -> Tensor:
        """States [rows, tokens, width]."""
        inner = self.ln_1(states)
        states = states + self.attn(inner, inner, inner, need_weights=False)[0]
        return states + self.mlp(self.ln_2(states))  # type: ignore[no-any-return]


class OpenClipVision(nn.Module):
    """open_clip's vision transformer, by the names of its modules and parameters."""

    def __init__(self, width: int, heads: int, layers: int, patch: int, side: int, dimensions: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.positional_embedding = nn.Parameter(torch.zeros((side // patch) ** 2 + 1, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = nn.ModuleDict(
            {"resblocks": nn.ModuleList(OpenClipBlock(width, heads) for _ in range(layers))}
        )
        self.proj = nn.Parameter(torch.zeros(width, dimensions))

    def forward(self, pixels: Tensor) -> Tensor:
        """Features [rows, dimensions] of pixels [rows, 3, side, side]."""
        patches = self.conv1(pixels).flatten(2).transpose(1, 2)
        states = torch.cat([self.class_embedding.expand(len(pixels), 1, -1), patches], dim=1)
        states = self.ln_pre(states + self.positional_embedding)
        for block in self.transformer["resblocks"]:  # type: ignore[union-attr, attr-defined]
            states = block(states)
        return self.ln_post(states[:, 0]) @ self.proj  # type: ignore[no-any-return]


def open_clip_vision(model: Mapping[str, Any]) -> OpenClipVision:
    """The vision transformer that a model_cfg describes."""
    cfg = model["vision_cfg"]
    heads = cfg["width"] // cfg.get("head_width", 64)
    return OpenClipVision(cfg["width"], heads, cfg["layers"], cfg["patch_size"], cfg["image_size"], model["embed_dim"])


def open_clip_text(hidden: int = 128) -> tuple[Any, nn.Module]:
    """A tiny XLM-R, with heads of 64 as every published one, and open_clip's head."""
    from transformers import XLMRobertaConfig, XLMRobertaModel

    config = XLMRobertaConfig(
        vocab_size=tiny_tokenizer().get_vocab_size(), hidden_size=hidden, num_attention_heads=hidden // 64,
        intermediate_size=64, num_hidden_layers=2, max_position_embeddings=60, type_vocab_size=1, layer_norm_eps=1e-5,
    )  # fmt: skip
    inner = (hidden + DIMENSIONS) // 2
    head = nn.Sequential(nn.Linear(hidden, inner, bias=False), nn.GELU(), nn.Linear(inner, DIMENSIONS, bias=False))
    return XLMRobertaModel(config, add_pooling_layer=False), head


def open_clip_state() -> dict[str, Tensor]:
    """The state of a tiny open_clip model with XLM-R."""
    transformer, head = open_clip_text()
    parts = {"visual.": open_clip_vision(OPEN_CLIP_MODEL), "text.transformer.": transformer, "text.proj.": head}
    state = {
        prefix + name: value for prefix, part in parts.items() for name, value in shaken(part).state_dict().items()
    }
    state["text.transformer.embeddings.position_ids"] = torch.arange(60).unsqueeze(0)  # of an older transformers
    return {**state, "logit_scale": torch.tensor(4.6)}


def _open_clip(folder: Path) -> None:
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    save_file(open_clip_state(), folder / "open_clip_model.safetensors", {"format": "pt"})
    preprocess = {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]}
    write_json(folder / "open_clip_config.json", {"model_cfg": OPEN_CLIP_MODEL, "preprocess_cfg": preprocess})
    _xlmr_tokenizer(folder, 512)
    (folder / "notes.txt").write_text("ours\n")


def _open_clip_state(folder: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    state = load_file(folder / "open_clip_model.safetensors")
    assert state.keys() == open_clip_state().keys()
    state.pop("text.transformer.embeddings.position_ids")
    return state


def _part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _by_formula(folder: Path, texts: Sequence[str], dtype: torch.dtype) -> Tensor:
    """What open_clip computes, by its parts; loaded strictly."""
    transformer, head = open_clip_text()
    state = _open_clip_state(folder)
    transformer.load_state_dict(_part(state, "text.transformer."))
    head.load_state_dict(_part(state, "text.proj."))
    rows = tokens(folder, [clean(text) for text in texts], OPEN_CLIP_MODEL["text_cfg"]["context_length"])
    ids = torch.tensor([[*row, *[1] * (40 - len(row))] for row in rows])
    mask = (ids != 1).long()
    with torch.inference_mode():
        states = transformer.to(dtype).eval()(input_ids=ids, attention_mask=mask).last_hidden_state
        found: Tensor = head.to(dtype)((states * mask.unsqueeze(-1)).sum(1) / mask.sum(-1, keepdim=True))
    return found.clone()


def clean(text: str) -> str:
    """open_clip's cleaning of a text, but for what ftfy does, which the texts here have no need of."""
    return " ".join(html.unescape(text).split())


def _open_clip_images(folder: Path, pixels: Tensor) -> Tensor:
    vision = open_clip_vision(OPEN_CLIP_MODEL).eval()
    vision.load_state_dict(_part(_open_clip_state(folder), "visual."))
    with torch.inference_mode():
        return vision(pixels).clone()  # type: ignore[no-any-return]


SIGLIP_WHOLE = ("vision_model.", "logit_scale", "logit_bias")
WHOLE = ("vision_model.", "visual_projection.", "logit_scale")
NLLB_MODEL: dict[str, Any] = {
    **OPEN_CLIP_MODEL,
    "text_cfg": {
        "hf_model_name": "facebook/nllb-200-distilled-600M", "hf_tokenizer_name": "facebook/nllb-200-distilled-600M",
        "proj": "linear", "pooler_type": "cls_pooler", "context_length": 40,
    },
}  # fmt: skip
"""As the first folders of NLLB-CLIP have it; later ones say hf_proj_type and hf_pooler_type."""


def nllb_text() -> tuple[Any, nn.Module]:
    """A tiny encoder of NLLB, and the head; heads of 4 channels, as there are 16 of them in every published one."""
    from transformers import M2M100Config
    from transformers.models.m2m_100.modeling_m2m_100 import M2M100Encoder

    config = M2M100Config(
        vocab_size=len(nllb_tokenizer()), d_model=64, encoder_layers=2, encoder_attention_heads=16, encoder_ffn_dim=96,
        pad_token_id=1, scale_embedding=True,
    )  # fmt: skip
    return shaken(M2M100Encoder(config)), shaken(nn.Linear(64, DIMENSIONS, bias=False), 1)


def nllb_tokenizer() -> Any:
    """NLLB's own tokenizer class on a tiny vocabulary of characters."""
    from transformers import NllbTokenizer

    characters = [
        chr(code) for start, end in ((0x21, 0x7F), (0xC0, 0x180), (0x3041, 0x3097)) for code in range(start, end)
    ]
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "\u2581", *characters, "\u2581a", "do", "dog"]
    return NllbTokenizer(
        vocab={piece: number for number, piece in enumerate(pieces)}, merges=[("\u2581", "a"), ("d", "o"), ("do", "g")]
    )


def _nllb(folder: Path) -> None:
    """open_clip's files with NLLB as text tower; positions are not among the tensors."""
    from safetensors.torch import save_file

    encoder, head = nllb_text()
    vision = shaken(open_clip_vision(NLLB_MODEL))
    parts = {"visual.": vision, "text.transformer.": encoder, "text.proj.": head}
    state = {prefix + name: value for prefix, part in parts.items() for name, value in part.state_dict().items()}
    folder.mkdir(parents=True)
    save_file(state | {"logit_scale": torch.tensor(4.6)}, folder / "open_clip_model.safetensors", {"format": "pt"})
    preprocess = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bicubic", "resize_mode": "squash"}
    write_json(folder / "open_clip_config.json", {"model_cfg": NLLB_MODEL, "preprocess_cfg": preprocess})
    nllb_tokenizer().save_pretrained(folder)
    (folder / "merges.txt").write_text("#version: 0.2\n")  # left there from a tokenizer of CLIP


def _nllb_features(folder: Path, texts: Sequence[str], dtype: torch.dtype, tag: str = "deu_Latn") -> Tensor:
    """The state at the language tag by transformers' encoder, projected; loaded strictly."""
    from safetensors.torch import load_file
    from transformers import AutoTokenizer

    encoder, head = nllb_text()
    state = {name: value.float() for name, value in load_file(folder / "open_clip_model.safetensors").items()}
    encoder.load_state_dict(_part(state, "text.transformer."))
    head.load_state_dict(_part(state, "text.proj."))
    tokenizer = AutoTokenizer.from_pretrained(folder, src_lang=tag)
    cleaned = [" ".join(html.unescape(text).split()) for text in texts]
    rows = tokenizer(cleaned, return_tensors="pt", padding=True, truncation=True, max_length=40)
    with torch.inference_mode():
        found = encoder.to(dtype)(rows["input_ids"], rows["attention_mask"]).last_hidden_state[:, 0]
        features: Tensor = head.to(dtype)(found)
    return features.clone()


def _nllb_images(folder: Path, pixels: Tensor) -> Tensor:
    from safetensors.torch import load_file

    vision = open_clip_vision(NLLB_MODEL).eval()
    vision.load_state_dict(_part(load_file(folder / "open_clip_model.safetensors"), "visual."))
    with torch.inference_mode():
        return vision(pixels).clone()  # type: ignore[no-any-return]


SAMPLES = {
    "sentence-transformers": Published(_sentence_transformers, _by_sentence_transformers),
    "NLLB-CLIP": Published(_nllb, _nllb_features, ("visual.", "logit_scale"), vision=_nllb_images, language="de"),
    "OpenCLIP": Published(_open_clip, _by_formula, ("visual.", "logit_scale"), vision=_open_clip_images),
    "AltCLIP": Published(_altclip, _by_transformers("AltCLIPModel", 1, 48), WHOLE, "AltCLIPModel"),
    "MetaCLIP 2": Published(_metaclip_2, _by_transformers("MetaClip2Model", 1, 24), WHOLE, "MetaClip2Model"),
    "Chinese-CLIP": Published(_chinese_clip, _by_transformers("ChineseCLIPModel", 0, 52), WHOLE, "ChineseCLIPModel"),
    "SigLIP": Published(_siglip, _by_siglip, SIGLIP_WHOLE, "SiglipModel"),
    "SigLIP without a head": Published(
        lambda f: _siglip(f, has_head=False), _by_siglip, SIGLIP_WHOLE, "SiglipModel", family="SigLIP"
    ),
    "SigLIP 2": Published(_siglip_2, _by_siglip, SIGLIP_WHOLE, "SiglipModel", family="SigLIP"),
    "CLIP": Published(_clip, _by_transformers("CLIPModel", 0, 77), WHOLE, "CLIPModel"),
    "CLIP legacy": Published(
        lambda f: _clip(f, True), _by_transformers("CLIPModel", 0, 77), WHOLE, "CLIPModel", family="CLIP"
    ),
}
