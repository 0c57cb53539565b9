"""Attaching a method to a tower: OpenDelta's modules are replaced by ones that hold the parameters of many runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from xpet.core.config import MethodConfig
from xpet.core.errors import ModelError
from xpet.methods import embeddings
from xpet.methods.base import Method
from xpet.methods.bridge import DeltaSite, drawing
from xpet.methods.parts import PARTS, ends_with
from xpet.methods.plain_stack import PlainStack
from xpet.methods.stack import Draw, Stack, TrainedTokens, flatten
from xpet.methods.stacked import TRAINABLE, Selection, Share, Stacked, StackedBeside, StackedDelta, StackedPrompt
from xpet.methods.table import find_method

Parameters = dict[str, dict[str, nn.Parameter]]
"""Dotted name of a module -> its own parameters to train, by their names in it."""


def build_stack(
    tower: nn.Module, config: MethodConfig, seeds: Sequence[int], tokens: TrainedTokens | None = None
) -> Stack:
    """Attach a method to a freshly loaded tower with one run per seed (the seeds draw the initial values).

    Args:
        tower: a text tower; changed for good: never attach twice, never deepcopy it.
        config: the method and its settings.
        seeds: one per run.
        tokens: for each run the ids of the tokens whose embeddings it trains, where `config.train` names the
            embeddings. Without them no embedding is changed until others come by `Stack.reset` or `Stack.load`.

    Raises ConfigError for settings the method does not have, ModelError where the tower lacks what is to be trained.
    """
    method = find_method(config)
    tower.eval().requires_grad_(False)
    with drawing(seeds[0]):
        sites = method.attach(tower, config, config.modules or method.modules)
    parts = config.train if config.train is not None else method.train
    parameters = _tower_parameters(tower, sites, [part for part in parts if part != embeddings.PART])
    if not method.stackable:
        if len(seeds) > 1:
            raise ModelError(f"{method.name} cannot be stacked: expected 1 run, found {len(seeds)}")
        return PlainStack(tower, {f"{path}.{n}": p for path, names in parameters.items() for n, p in names.items()})

    token_table = embeddings.TokenTable() if embeddings.PART in parts else None
    if token_table is not None:
        token_table.set([()] * len(seeds) if tokens is None else tokens, "cpu")
    draw = _drawer(tower, sites, parameters, token_table, config.embedding_rank)
    values = draw(seeds)
    flat = flatten(values)
    stack = Stack(tower, values, draw, [flat])
    stack.token_table = token_table
    stack.hold(flat, len(seeds))
    _install_deltas(tower, sites, method, values, stack.selection)
    _install_trainable(tower, parameters, values, stack.selection)
    if token_table is not None:
        _install_words(tower, values, stack.selection, token_table)
    return stack


def total_parameters(tower: nn.Module) -> int:
    """How many parameters a bare tower has, the denominator of the trainable share."""
    return sum(p.numel() for p in tower.parameters())


def _tower_parameters(tower: nn.Module, sites: Sequence[DeltaSite], parts: Sequence[str]) -> Parameters:
    """The tower's own parameters to train: those a method unfroze and those of the parts; raises ModelError."""
    delta_parameters = {id(p) for site in sites for p in site.module.parameters()}
    endings = [PARTS[part] for part in parts]
    parameters: Parameters = {}
    for path, module in tower.named_modules():
        in_part = ends_with(path, endings)
        chosen = {
            name: p
            for name, p in module.named_parameters(recurse=False)
            if id(p) not in delta_parameters and (in_part or p.requires_grad)
        }
        if chosen:
            parameters[path] = chosen
    for part in parts:
        if not any(ends_with(path, [PARTS[part]]) for path in parameters):
            raise ModelError(f"nothing to train as '{part}': expected modules {PARTS[part]} in the tower, found none")
    return parameters


def _site_name(site: DeltaSite) -> str:
    """The dotted name of a delta module in the tower; `DeltaSite.path` is within the transformer."""
    return site.path if site.path == "prompt" else f"transformer.{site.path}"


def _drawer(
    tower: nn.Module,
    sites: Sequence[DeltaSite],
    parameters: Parameters,
    token_table: embeddings.TokenTable | None,
    rank: int,
) -> Draw:
    """Make the function that draws initial values of new runs from their seeds."""
    base = None if token_table is None else tower.get_submodule(embeddings.WORDS)

    def draw(seeds: Sequence[int]) -> dict[str, Tensor]:
        initial = _initial(sites, parameters, seeds)
        if token_table is None or base is None:
            return initial
        return {**initial, **_initial_words(base, token_table.most, rank, seeds)}

    return draw


def _initial(sites: Sequence[DeltaSite], parameters: Parameters, seeds: Sequence[int]) -> dict[str, Tensor]:
    """Name -> initial values [runs, *shape]; each seed draws what a fresh attach under it would draw."""
    columns: dict[str, list[Tensor]] = {}
    for seed in seeds:
        with drawing(seed):
            for site in sites:
                for name, value in site.fresh().named_parameters():
                    columns.setdefault(f"{_site_name(site)}.{name}", []).append(value.detach())
    for path, names in parameters.items():
        for name, parameter in names.items():
            columns[f"{path}.{name}"] = [parameter.detach().to("meta" if parameter.is_meta else "cpu")] * len(seeds)
    return {name: torch.stack(values) for name, values in columns.items()}


def _initial_words(base: nn.Module, rows: int, rank: int, seeds: Sequence[int]) -> dict[str, Tensor]:
    """The embedding delta of new runs: A [runs, rows, rank], zero, and B [runs, rank, hidden], drawn per seed."""
    weight: Tensor = base.weight  # type: ignore[assignment]
    scale = embeddings.scale_of(base)
    ups = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        ups.append(torch.randn(rank, weight.shape[1], generator=generator, dtype=torch.float64) * scale)
    dtype = torch.float32 if weight.dtype in (torch.bfloat16, torch.float16) else weight.dtype
    return {
        embeddings.DOWN: torch.zeros(len(seeds), rows, rank, dtype=dtype),
        embeddings.UP: torch.stack(ups).to(dtype),
    }


def _replace(tower: nn.Module, path: str, module: nn.Module) -> None:
    """Put a module where another one with this dotted name was."""
    parent, _, child = path.rpartition(".")
    setattr(tower.get_submodule(parent), child, module)


def _install_words(
    tower: nn.Module, values: Mapping[str, Tensor], selection: Selection, token_table: embeddings.TokenTable
) -> None:
    """Replace the word embeddings by ones with a delta per run."""
    share = Share(values, {"delta_A": embeddings.DOWN, "delta_B": embeddings.UP}, selection)
    plain = tower.get_submodule(embeddings.WORDS)
    _replace(tower, embeddings.WORDS, embeddings.StackedEmbedding(plain, share, token_table))


def _install_deltas(
    tower: nn.Module, sites: Sequence[DeltaSite], method: Method, values: Mapping[str, Tensor], selection: Selection
) -> None:
    """Replace the delta modules by ones that compute all selected runs at once."""
    for site in sites:
        prefix = _site_name(site) + "."
        share = Share(values, {n.removeprefix(prefix): n for n in values if n.startswith(prefix)}, selection)
        stacked: Stacked
        if site.path == "prompt":
            stacked = StackedPrompt(share)
        elif method.behind is not None:
            stacked = StackedDelta(site.module, method.behind, share)
        elif method.beside is not None and isinstance(site.host, nn.Linear):
            stacked = StackedBeside(site.module, method.beside, site.host, share)
        else:
            raise ModelError(f"{method.name} cannot be stacked: it does not say how its modules run for many runs")
        setattr(site.host, site.name, stacked)


def _install_trainable(
    tower: nn.Module, parameters: Parameters, values: Mapping[str, Tensor], selection: Selection
) -> None:
    """Replace modules whose own parameters are trained by ones that hold them per run, and freeze the rest."""
    for path, names in parameters.items():
        module = tower.get_submodule(path)
        share = Share(values, {name: f"{path}.{name}" for name in names}, selection)
        _replace(tower, path, TRAINABLE[type(module)](module, share))
    tower.requires_grad_(False)
