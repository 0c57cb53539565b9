"""Parts of a text tower that can be trained beside a method's own modules (`--train`), and endings of module names."""

from __future__ import annotations

from collections.abc import Iterable

PARTS = {"layernorm": "output.LayerNorm", "head": "LinearTransformation", "pooler": "transformer.pooler.dense"}
"""`--train` part -> ending of the names of the modules it covers (not the embeddings' LayerNorm).

`embeddings` is no part of the tower's own: see `xpet.methods.embeddings`.
"""

HOSTS = ("query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense")
"""Endings of the names of a layer's linear modules, the same in the towers of all families: see `xpet.models.families`.

The last is both of attention's and of the feed-forward's."""


def ends_with(module: str, endings: Iterable[str]) -> bool:
    """Whether endings such as `output.dense` select a module of this name, as OpenDelta and PEFT read them."""
    return any(module == ending or module.endswith("." + ending) for ending in endings)
