"""What is trained on what: towers of three sizes with random weights, captions as long as real ones, pixels.

Speed does not depend on what the weights are or what the captions say, only on sizes and lengths; so the weights are
random, the captions are made of numbered words, one token each, and the vocabulary is small (the word embeddings are
looked up, not multiplied). Lengths: of XTD's captions where the data is at hand, else drawn from their quantiles.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from xpet.core.captions import ReadRequest
from xpet.models.text_tower import TextTower, empty_xlm_roberta

WORDS = 2000
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
LANGUAGES = ("de", "es", "fr", "it", "ja", "ko", "pl", "ru", "tr", "zh")
CHARACTERS = {"ja": 1.8, "ko": 1.9, "zh": 1.6}
"""Characters per XLM-R token, estimated; 3.6 in alphabets. XLM-R's own vocabulary is not at hand."""
ALPHABETIC = 3.6
SHARES = (0, 5, 25, 50, 75, 95, 100)
QUANTILES = {
    "en": (12, 15, 17, 19, 21, 28, 65), "de": (2, 16, 19, 21, 25, 33, 60), "es": (3, 13, 16, 19, 22, 28, 66),
    "fr": (7, 16, 20, 22, 26, 34, 80), "it": (4, 12, 16, 18, 22, 30, 55), "ja": (10, 10, 11, 13, 15, 19, 34),
    "ko": (7, 11, 14, 16, 18, 24, 58), "pl": (8, 12, 15, 18, 21, 29, 56), "ru": (3, 7, 13, 16, 19, 25, 61),
    "tr": (10, 13, 16, 19, 22, 30, 63), "zh": (6, 9, 11, 13, 16, 21, 44),
}  # fmt: skip
"""Tokens per XTD caption with both special ones (so estimated), at the SHARES per cent of the captions."""

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
"""Real captions, where they lie beside the checkout."""


@dataclass(frozen=True)
class Size:
    """Settings of transformers' XLMRobertaConfig and CLIPVisionConfig."""

    hidden: int
    layers: int
    heads: int
    positions: int
    vision: Mapping[str, int]
    dims: int

    @property
    def inner(self) -> int:
        return 4 * self.hidden

    @property
    def text(self) -> dict[str, Any]:
        return {
            "vocab_size": len(SPECIAL) + WORDS, "hidden_size": self.hidden, "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads, "intermediate_size": self.inner, "type_vocab_size": 1,
            "max_position_embeddings": self.positions, "layer_norm_eps": 1e-5,
        }  # fmt: skip


def _vision(hidden: int, layers: int, heads: int, size: int, patch: int) -> dict[str, int]:
    return {
        "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
        "intermediate_size": 4 * hidden, "image_size": size, "patch_size": patch,
    }  # fmt: skip


SIZES = {
    "tiny": Size(128, 2, 4, 66, _vision(128, 3, 4, 64, 16), 128),  # the demo's towers
    "base": Size(768, 12, 12, 514, _vision(768, 12, 12, 224, 32), 512),  # XLM-R Base with ViT-B/32
    "large": Size(1024, 24, 16, 514, _vision(1024, 24, 16, 224, 14), 768),  # XLM-R Large with ViT-L/14
}


_PRISTINE: dict[tuple[object, ...], nn.Module] = {}


def text_tower(size: Size, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> TextTower:
    """A frozen tower of its own in eval mode; always the same weights, drawn on the CPU, once in a process."""
    tower = _kept("text", 0, lambda: empty_xlm_roberta(size.dims, **size.text), size, device, dtype)
    return copy.deepcopy(tower)  # type: ignore[return-value]


def image_tower(size: Size, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> nn.Module:
    """The frozen image tower in eval mode, common to all that ask for it."""
    from xpet.models.image_tower import empty_image_tower

    make = lambda: empty_image_tower(**size.vision, projection_dim=size.dims)  # noqa: E731
    return _kept("image", 1, make, size, device, dtype)


def _kept(
    kind: str, seed: int, make: Callable[[], nn.Module], size: Size, device: torch.device | str, dtype: torch.dtype
) -> nn.Module:
    """The tower of this kind, made or copied to the device where this was not done before."""
    here, drawn = (kind, repr(size), str(device), dtype), (kind, repr(size), "cpu", torch.float32)
    if drawn not in _PRISTINE:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            _PRISTINE[drawn] = make().eval().requires_grad_(False)
    if here not in _PRISTINE:
        _PRISTINE[here] = copy.deepcopy(_PRISTINE[drawn]).to(device=device, dtype=dtype)
    return _PRISTINE[here]


def word_tokenizer(limit: int) -> Any:
    """transformers' fast tokenizer of words "4", "5", ..., as a user would load a checkpoint's."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = [*SPECIAL, *map(str, range(len(SPECIAL), len(SPECIAL) + WORDS))]
    plain = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    plain.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=plain, model_max_length=limit, bos_token="<s>", pad_token="<pad>", eos_token="</s>",
        unk_token="<unk>",
    )  # fmt: skip


def lengths_of(data: Path | None) -> Callable[[str, str, int], list[int]]:
    """(language, slot, rows) -> tokens per caption: XTD's first rows below `data`, else drawn from the quantiles."""
    root = (data or DATA) / "xtd10"
    if not root.is_dir():
        return drawn_lengths
    from xpet.data.xtd import read

    captions = read(ReadRequest(root=str(root))).splits["all"].captions

    def real(language: str, slot: str, rows: int) -> list[int]:
        texts = captions[language].texts[slot]
        spoken = "en" if slot in ("pivot", "to_pivot") else language
        per_token = CHARACTERS.get(spoken, ALPHABETIC)
        return [2 + max(1, round(len(texts[i % len(texts)]) / per_token)) for i in range(rows)]

    return real


def drawn_lengths(language: str, slot: str, rows: int) -> list[int]:
    spoken = "en" if slot in ("pivot", "to_pivot") else language
    places = numpy.random.default_rng([LANGUAGES.index(language), len(slot)]).uniform(0, 100, rows)
    return [max(3, round(tokens)) for tokens in numpy.interp(places, SHARES, QUANTILES[spoken])]


def made_up(lengths: Sequence[int], seed: str) -> list[str]:
    """One caption per length, the two special tokens not written."""
    rng = random.Random(seed)
    return [" ".join(str(rng.randrange(len(SPECIAL), WORDS)) for _ in range(n - 2)) for n in lengths]


@dataclass
class Setting:
    """One size on one device: pixels of all images in memory, made-up captions, both sides' tokenizer."""

    size: Size
    rows: int
    validation: int
    device: str
    lengths: Callable[[str, str, int], list[int]]
    _texts: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        side = self.size.vision["image_size"]
        generator = torch.Generator().manual_seed(2)
        self.pixels = torch.randn(self.rows + self.validation, 3, side, side, generator=generator)
        self.tokenizer = word_tokenizer(self.size.positions - 2)

    def texts(self, language: str, slot: str) -> list[str]:
        """Captions of the training rows, then of the validation rows."""
        key = (language, slot)
        if key not in self._texts:
            count = self.rows + self.validation
            self._texts[key] = made_up(self.lengths(language, slot, count), f"{language} {slot}")
        return self._texts[key]

    def tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids and mask of a batch on the device, padded to its longest."""
        batch = self.tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
        return batch["input_ids"].to(self.device), batch["attention_mask"].to(self.device)


def useful_flops(size: Size, lengths: Sequence[int]) -> float:
    """FLOP of one training step on captions of these lengths: what padding, norms and the delta add is not counted.

    Forward 2 per weight and token, backward to the activations as much again (frozen weights have no gradient);
    attention's two products, and their four in the backward.
    """
    weights = size.layers * (4 * size.hidden**2 + 2 * size.hidden * size.inner)
    attention = size.layers * 4 * size.hidden
    return float(sum(4 * weights * n + 3 * attention * n * n for n in lengths))
