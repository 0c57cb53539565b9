"""Tiny random checkpoints of every family in the layout it is published in, and what the family's own library does.

Nothing of xpet is used here. Towers are 32 wide with 2 layers; weights are large, so that nothing drowns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests.tiny import tiny_tokenizer, write_json, write_weights

ODD = (
    "a red dog", "", "A BIG RED DOG", "ein kleiner Hund, 3 Katzen!", "犬 と 猫", "🐕 🐈", "كلب אדום",
    "a red dog " * 1000, " \t two  dogs\n",
)  # fmt: skip
"""Texts that tokenizers like to differ on."""
SHAPE: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
}  # fmt: skip
DIMENSIONS = 16


@dataclass(frozen=True)
class Published:
    """One family's sample.

    Attributes:
        make: writes the checkpoint into a new folder.
        features: un-normalised features of texts by the family's own library, from a folder; asserts that every tensor
            was found, and no other.
        kept: names of tensors that are not the text tower's, as they begin on the disk.
    """

    make: Callable[[Path], None]
    features: Callable[[Path, Sequence[str]], Tensor]
    kept: tuple[str, ...] = ()


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


def _by_sentence_transformers(folder: Path, texts: Sequence[str]) -> Tensor:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    features = model.encode(list(texts), convert_to_tensor=True, show_progress_bar=False)
    assert isinstance(features, Tensor)
    return features


SAMPLES = {
    "sentence-transformers": Published(_sentence_transformers, _by_sentence_transformers),
}
