"""The embedding delta: a low-rank change of the word embeddings, with rows only for the tokens a language uses.

xpet's own step beyond the paper: LoRA on attention cannot give a tower words it does not know, a change of the word
embeddings can. Token t of a run's n tokens is embedded as `E[t] + A[row of t] B`, with A [n, rank] starting at zero and
B [rank, hidden] drawn at the scale of the embeddings, so that training starts from the base. Tokens without a row are
embedded as ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from xpet.core.errors import ModelError
from xpet.methods.base import Change
from xpet.methods.stacked import Share, Stacked

PART = "embeddings"
"""The `--train` part that trains it."""
WORDS = "transformer.embeddings.word_embeddings"
"""The module of word embeddings in the tower."""
TOKENS, DOWN, UP = f"{WORDS}.tokens", f"{WORDS}.delta_A", f"{WORDS}.delta_B"
"""Names in a run's delta: token ids [n], ascending; A [n, rank]; B [rank, hidden]."""


class TokenTable:
    """Which tokens have a row of A, for each run of a stack.

    Attributes:
        tokens: each run's token ids, ascending, int64 [n] on the CPU.
        table: the same in one tensor [runs, most] on the stack's device, padded with an id no token has.
    """

    PADDING = 2**62

    def __init__(self) -> None:
        self.tokens: list[Tensor] = []
        self.table = torch.empty(0, 0, dtype=torch.long)

    @property
    def most(self) -> int:
        """Rows of the run with the most; at least 1."""
        return self.table.shape[1]

    def set(self, tokens: Sequence[Sequence[int] | Tensor], device: torch.device | str) -> None:
        """Set the token ids of every run, [any number] each, in any order and with repetitions."""
        self.tokens = [torch.unique(torch.as_tensor(row, dtype=torch.long).cpu()) for row in tokens]
        most = max([1, *map(len, self.tokens)])
        table = torch.full((len(self.tokens), most), self.PADDING)
        for row, ids in zip(table, self.tokens, strict=True):
            row[: len(ids)] = ids
        self.table = table.to(device)


class StackedEmbedding(Stacked):
    """Word embeddings with each run's own delta."""

    def __init__(self, base: nn.Module, share: Share, token_table: TokenTable) -> None:
        super().__init__(share)
        self.base = base
        self.token_table = token_table

    def forward(self, input_ids: Tensor) -> Tensor:
        """Embeddings [rows, length, hidden] of token ids [rows, length]."""
        embedded: Tensor = self.base(input_ids)
        if not self.runs:
            return embedded
        p = self.selected(embedded.dtype)
        table = self.share.selection.pick(self.token_table.table)
        ids = input_ids.reshape(self.runs, -1)
        index = torch.searchsorted(table, ids).clamp_max(table.shape[1] - 1)  # [runs, tokens]
        has_row = table.gather(1, index) == ids
        down = p["delta_A"]
        rows = torch.gather(down, 1, index.unsqueeze(-1).expand(-1, -1, down.shape[-1])) * has_row.unsqueeze(-1)
        return embedded + (rows @ p["delta_B"]).reshape(embedded.shape)


def scale_of(embedding: nn.Module) -> float:
    """Standard deviation of the base's first word embeddings, the scale B is drawn at; 1 on the meta device."""
    weight: Tensor = embedding.weight  # type: ignore[assignment]
    return 1.0 if weight.is_meta else float(weight[: 1 << 15].float().std())


def split(delta: Mapping[str, Tensor]) -> tuple[Mapping[str, Tensor], dict[str, Tensor]]:
    """Split a run's delta: the method's part; the embeddings' tokens [n], A [n, rank], B [rank, hidden], if any."""
    words = {name: delta[name] for name in (TOKENS, DOWN, UP) if name in delta}
    return {name: value for name, value in delta.items() if name not in words} if words else delta, words


def check(words: Mapping[str, Tensor], rank: int) -> None:
    """Raise ModelError unless tokens [n], A [n, rank] and B [rank, hidden] belong together."""
    if set(words) != {TOKENS, DOWN, UP}:
        raise ModelError(f"delta does not fit: expected {TOKENS}, delta_A and delta_B, found {sorted(words)}")
    tokens, down, up = words[TOKENS], words[DOWN], words[UP]
    if tokens.dim() != 1 or down.shape != (len(tokens), rank) or up.dim() != 2 or len(up) != rank:
        raise ModelError(
            f"delta does not fit: expected {len(tokens)} rows of rank {rank} for the word embeddings, found A "
            f"{tuple(down.shape)} and B {tuple(up.shape)}"
        )


def fold(words: Mapping[str, Tensor], rank: int) -> dict[str, Change]:
    """The change `E[tokens] + A B` of the word embeddings [vocabulary, hidden]; empty without an embedding delta."""
    if not words:
        return {}
    check(words, rank)
    return {f"{WORDS}.weight": lambda base: _add_rows(base, words)}


def _add_rows(base: Tensor, words: Mapping[str, Tensor]) -> Tensor:
    if len(words[TOKENS]) and not 0 <= int(words[TOKENS].min()) <= int(words[TOKENS].max()) < len(base):
        raise ModelError(f"delta does not fit: expected tokens below {len(base)}, found {int(words[TOKENS].max())}")
    return base.index_add(0, words[TOKENS], words[DOWN].float() @ words[UP].float())


def widened(state: Mapping[str, Tensor], fresh: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A stored state to continue from, with rows (zero) for the tokens that only the newly initialised `fresh` one has.

    A is [n, rank]. Parameters that only the fresh state has (more is trained now) keep its values. Parameters that only
    the stored one has stay, too, and make `Stack.load` raise.
    """
    joined = {**fresh, **state}
    if TOKENS not in fresh or TOKENS not in state:
        return joined
    tokens = torch.unique(torch.cat([fresh[TOKENS], state[TOKENS]]))
    down = state[DOWN].new_zeros(len(tokens), state[DOWN].shape[1])
    down[torch.searchsorted(tokens, state[TOKENS])] = state[DOWN]
    return {**joined, TOKENS: tokens, DOWN: down}
