"""Attaching a method to a tower: OpenDelta's modules are replaced by ones that hold the parameters of many runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from xpet.core.config import MethodConfig
from xpet.core.errors import ModelError
from xpet.methods import embeddings
from xpet.methods.bridge import DeltaSite, drawing
from xpet.methods.plain_stack import PlainStack
from xpet.methods.stack import Stack, Tokens, flatten
from xpet.methods.stacked import OWN, Selection, Share, Stacked, StackedDelta, StackedPrompt
from xpet.methods.table import find_method

PARTS = {"layernorm": "output.LayerNorm", "head": "LinearTransformation", "pooler": "transformer.pooler.dense"}
"""`--train` part -> ending of the names of the modules it covers (not the embeddings' LayerNorm).

`embeddings` is no part of the tower's own: see `xpet.methods.embeddings`.
"""


def build_stack(tower: nn.Module, config: MethodConfig, seeds: Sequence[int], tokens: Tokens | None = None) -> Stack:
    """Attach a method to a freshly loaded tower with one run per seed (the seeds draw the initial values).

    `tokens` are each run's own, where word embeddings are trained; without them no embedding is changed until others
    come by `Stack.reset` or `Stack.load`. The tower is changed for good: never attach twice, never deepcopy it. Raises
    ConfigError, ModelError.
    """
    method = find_method(config)
    tower.eval().requires_grad_(False)
    with drawing(seeds[0]):
        sites = method.attach(tower, config, config.modules or method.modules)
    parts = config.train if config.train is not None else method.train
    own = _own_parameters(tower, sites, [part for part in parts if part != embeddings.PART])
    if not method.stackable:
        if len(seeds) > 1:
            raise ModelError(f"{method.name} cannot be stacked: expected 1 run, found {len(seeds)}")
        return PlainStack(tower, {f"{path}.{name}": p for path, names in own.items() for name, p in names.items()})

    words = embeddings.TokenTable() if embeddings.PART in parts else None
    base = tower.get_submodule(embeddings.WORDS) if words is not None else None

    def draw(seeds: Sequence[int]) -> dict[str, Tensor]:
        initial = _initial(sites, own, seeds)
        return initial if words is None else {**initial, **_initial_words(base, words, config.embedding_rank, seeds)}

    if words is not None:
        words.set([()] * len(seeds) if tokens is None else tokens, "cpu")
    flat, values = flatten(draw(seeds))
    stack = Stack(tower, values, draw, [flat])
    stack.words = words
    _install(tower, sites, own, values, stack.selection)
    if words is not None:
        _install_words(tower, values, stack.selection, words)
    return stack


def total_parameters(tower: nn.Module) -> int:
    """Parameters of a bare tower, the denominator of the trainable share."""
    return sum(p.numel() for p in tower.parameters())


def _own_parameters(
    tower: nn.Module, sites: Sequence[DeltaSite], parts: Sequence[str]
) -> dict[str, dict[str, nn.Parameter]]:
    """Module path -> its own parameters to train: those a method unfroze and those of the parts asked for."""
    inside = {id(p) for site in sites for p in site.module.parameters()}
    endings = tuple(PARTS[part] for part in parts)
    found: dict[str, dict[str, nn.Parameter]] = {}
    for path, module in tower.named_modules():
        wanted = any(path == e or path.endswith("." + e) for e in endings)
        chosen = {
            name: p
            for name, p in module.named_parameters(recurse=False)
            if id(p) not in inside and (wanted or p.requires_grad)
        }
        if chosen:
            found[path] = chosen
    for part in parts:
        if not any(path == PARTS[part] or path.endswith("." + PARTS[part]) for path in found):
            raise ModelError(f"nothing to train as '{part}': expected modules {PARTS[part]} in the tower, found none")
    return found


def _site_name(site: DeltaSite) -> str:
    return site.path if site.path == "prompt" else f"transformer.{site.path}"


def _initial(
    sites: Sequence[DeltaSite], own: Mapping[str, Mapping[str, nn.Parameter]], seeds: Sequence[int]
) -> dict[str, Tensor]:
    """Name -> initial values [runs, *shape]; each seed draws what a fresh attach under it would draw."""
    columns: dict[str, list[Tensor]] = {}
    for seed in seeds:
        with drawing(seed):
            for site in sites:
                for name, value in site.fresh().named_parameters():
                    columns.setdefault(f"{_site_name(site)}.{name}", []).append(value.detach())
        for path, names in own.items():
            for name, parameter in names.items():
                device = "meta" if parameter.is_meta else "cpu"
                columns.setdefault(f"{path}.{name}", []).append(parameter.detach().to(device))
    return {name: torch.stack(values) for name, values in columns.items()}


def _initial_words(
    base: nn.Module | None, words: embeddings.TokenTable, rank: int, seeds: Sequence[int]
) -> dict[str, Tensor]:
    """A, zero, and B [runs, rank, hidden], drawn at the scale of the base's embeddings from each seed alone."""
    assert base is not None
    weight: Tensor = base.weight  # type: ignore[assignment]
    scale = embeddings.scale_of(base)
    drawn = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        drawn.append(torch.randn(rank, weight.shape[1], generator=generator, dtype=torch.float64) * scale)
    dtype = torch.float32 if weight.dtype in (torch.bfloat16, torch.float16) else weight.dtype
    return {
        embeddings.DOWN: torch.zeros(len(seeds), words.most, rank, dtype=dtype),
        embeddings.UP: torch.stack(drawn).to(dtype),
    }


def _install_words(
    tower: nn.Module, values: Mapping[str, Tensor], selection: Selection, words: embeddings.TokenTable
) -> None:
    """Put the embeddings with deltas where the plain ones were."""
    parent, _, child = embeddings.WORDS.rpartition(".")
    share = Share(values, {"delta_A": embeddings.DOWN, "delta_B": embeddings.UP}, selection)
    setattr(
        tower.get_submodule(parent), child,
        embeddings.StackedEmbedding(tower.get_submodule(embeddings.WORDS), share, words),
    )  # fmt: skip


def _install(
    tower: nn.Module,
    sites: Sequence[DeltaSite],
    own: Mapping[str, Mapping[str, nn.Parameter]],
    values: Mapping[str, Tensor],
    selection: Selection,
) -> None:
    """Put the group-aware modules where the plain ones were."""
    for site in sites:
        prefix = _site_name(site) + "."
        share = Share(values, {n.removeprefix(prefix): n for n in values if n.startswith(prefix)}, selection)
        stacked: Stacked = StackedPrompt(share) if site.path == "prompt" else StackedDelta(site.module, share)
        setattr(site.host, site.name, stacked)
    for path, names in own.items():
        parent, _, child = path.rpartition(".")
        module = tower.get_submodule(path)
        share = Share(values, {name: f"{path}.{name}" for name in names}, selection)
        setattr(tower.get_submodule(parent), child, OWN[type(module)](module, share))
    tower.requires_grad_(False)
