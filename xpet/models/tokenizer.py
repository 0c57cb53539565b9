"""Turns texts into token ids with the checkpoint's own fast tokenizer, cut to the tower's limit.

`tokenizer.json` is read as it stands. transformers 5's AutoTokenizer would rebuild the pipeline of XLM-R and BERT
tokenizers from their class and its defaults, dropping what the file says about normalisation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from xpet.core.captions import PIVOT, in_language
from xpet.core.errors import ModelError, one_line
from xpet.models.weights import LONG, write_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from tokenizers.normalizers import Normalizer

_UNKNOWN = ("<unk>", "[UNK]")
"""The token for what the vocabulary does not know: XLM-R's, BERT's."""
_ROLES = {
    "bos_token": ("<s>", "<bos>"), "eos_token": ("</s>", "<eos>"), "unk_token": _UNKNOWN,
    "sep_token": ("</s>", "[SEP]"),
    "pad_token": ("<pad>", "[PAD]"), "cls_token": ("<s>", "[CLS]"), "mask_token": ("<mask>", "[MASK]"),
}  # fmt: skip
"""Role of a special token -> its spellings in XLM-R, BERT and Gemma."""


FILES = ("tokenizer.json", "sentencepiece.bpe.model")
"""Names of files that a tokenizer is read from, the first that is there."""


class TextTokenizer:
    """A fast tokenizer (of `tokenizers`, or transformers' wrapper of one), a length limit and a padding id.

    `clean` is done to every text first.
    """

    needs_language = False
    """Whether every text must say its language."""

    def __init__(self, tokenizer: Any, limit: int, pad_id: int, clean: Callable[[str], str] = str) -> None:
        self._prepare = clean
        self._tokenizer: Tokenizer = getattr(tokenizer, "backend_tokenizer", tokenizer)
        self.limit = limit
        self.pad_id = pad_id
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(limit)
        ids = [self._tokenizer.token_to_id(mark) for mark in _UNKNOWN]
        self.unknown_id: int | None = next((i for i in ids if i is not None), None)

    @property
    def highest_id(self) -> int:
        """The largest token id that may occur: of the vocabulary, or of what is put around every text."""
        around = self._tokenizer.encode("").ids
        return max((*self._tokenizer.get_vocab(with_added_tokens=True).values(), *around), default=-1)

    def _clean(self, texts: Sequence[str]) -> list[str]:
        """The texts, cleaned, with lone surrogates replaced, for which the tokenizer raises an error."""
        return [self._prepare(text).encode("utf-8", "replace").decode("utf-8") for text in texts]

    def reserve(self, tokens: int) -> None:
        """Reserve positions for `tokens` inserted tokens; raises ModelError when too few are left for a text."""
        if self.limit - tokens < 3:
            raise ModelError(f"a prompt of {tokens} tokens does not fit into {self.limit} positions; use fewer tokens")
        self.limit -= tokens
        self._tokenizer.enable_truncation(self.limit)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids per text, special tokens included, at most `limit` and at least one."""
        encoded = self._tokenizer.encode_batch(self._clean(texts))
        return [list(e.ids) or [self.pad_id] for e in encoded]

    def pad(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Token ids, padded, and 0/1 attention mask of token rows, both int64 [rows, longest]."""
        longest = max(map(len, rows), default=0)
        ids = torch.full((len(rows), longest), self.pad_id, dtype=torch.long)
        mask = torch.zeros((len(rows), longest), dtype=torch.long)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.tensor(row, dtype=torch.long)
            mask[number, : len(row)] = 1
        return ids, mask

    def unknown_rate(self, texts: Sequence[str]) -> float:
        """Share of the texts' tokens, special ones aside, that the vocabulary does not know; 0.0 for no tokens."""
        tokens = [token for row in self._without_special(texts) for token in row]
        return sum(token == self.unknown_id for token in tokens) / len(tokens) if tokens else 0.0

    def tokens_per_text(self, texts: Sequence[str]) -> float:
        """Mean number of tokens, special ones aside and at most `limit`; 0.0 for no texts."""
        return sum(map(len, self._without_special(texts))) / len(texts) if texts else 0.0

    def _without_special(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids per text without special tokens, at most `limit`."""
        encoded = self._tokenizer.encode_batch(self._clean(texts), add_special_tokens=False)
        return [list(e.ids) for e in encoded]

    def save(self, folder: Path) -> None:
        """Write tokenizer.json and tokenizer_config.json."""
        self._tokenizer.no_truncation()
        try:
            text = self._tokenizer.to_str()
        finally:
            self._tokenizer.enable_truncation(self.limit)
        (folder / "tokenizer.json").write_text(text, encoding="utf-8")
        known = self._tokenizer.token_to_id
        marks = {role: next((m for m in names if known(m) is not None), None) for role, names in _ROLES.items()}
        settings = {role: mark for role, mark in marks.items() if mark is not None}
        write_json(
            folder / "tokenizer_config.json",
            {**settings, "model_max_length": self.limit, "tokenizer_class": "PreTrainedTokenizerFast"},
        )


class FixedTokenizer(TextTokenizer):
    """A tokenizer for towers without an attention mask: rows are padded to the limit, and padding is attended to."""

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids per text, special tokens and padding included: exactly `limit`."""
        return [[*row, *[self.pad_id] * (self.limit - len(row))] for row in super().encode(texts)]

    def save(self, folder: Path) -> None:
        """Write tokenizer.json, which pads to the limit, and tokenizer_config.json."""
        mark = self._tokenizer.id_to_token(self.pad_id)
        self._tokenizer.enable_padding(length=self.limit, pad_id=self.pad_id, pad_token=mark)
        try:
            super().save(folder)
        finally:
            self._tokenizer.no_padding()


def before_all(tokenizer: Tokenizer, *first: Normalizer) -> Tokenizer:
    """The tokenizer with something done to texts before all that it does itself."""
    from tokenizers import normalizers

    own = tokenizer.normalizer
    tokenizer.normalizer = normalizers.Sequence([*first, *([] if own is None else [own])])
    return tokenizer


def load_tokenizer(
    folder: Path, limit: int, pad_id: int, is_lowered: bool = False, clean: Callable[[str], str] = str
) -> TextTokenizer:
    """The tokenizer of a checkpoint folder: tokenizer.json, else sentencepiece.bpe.model in XLM-R's numbering.

    `is_lowered`: texts are put in lower case first, which the files do not say; `clean` is done to them before that.
    Raises ModelError when both are missing or the file is damaged.
    """
    from xpet.models.sentencepiece import read_sentencepiece

    def limited(path: Path) -> TextTokenizer:
        from tokenizers import normalizers

        found = readers[path.name](path)
        return TextTokenizer(before_all(found, normalizers.Lowercase()) if is_lowered else found, limit, pad_id, clean)

    readers = dict(zip(FILES, (from_json, read_sentencepiece), strict=True))
    for name in FILES:
        if (folder / name).is_file():
            return opened(folder / name, limited)
    raise ModelError(f"{folder}: expected a tokenizer in {' or '.join(FILES)}, found neither")


def from_json(path: Path) -> Tokenizer:
    """The tokenizer of a tokenizer.json as it stands; raises what the library raises when it is damaged."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(path))


def opened(path: Path, read: Callable[[Path], TextTokenizer]) -> TextTokenizer:
    """The tokenizer that `read` makes of a file, tried out; raises ModelError, naming the file, when it is damaged."""
    try:
        tokenizer = read(path)
        tokenizer.encode(in_language(["a"], PIVOT))  # some damage shows only then
        return tokenizer
    except (KeyboardInterrupt, SystemExit, ModelError):
        raise
    except BaseException as error:  # tokenizers raises plain Exception, or panics, which is none
        raise ModelError(
            f"cannot read {path}: damaged or truncated ({one_line(error, LONG, first_only=True)}); fetch it again"
        ) from None
