"""Translates other tools' names of trained tensors to those of the tower, and finds the parts they belong to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from torch import Tensor

from xpet.core.errors import ModelError
from xpet.methods.parts import PARTS, ends_with

WRAPPERS = ("base_model.model.", "module.", "_orig_mod.")
"""What PEFT, data parallel training and torch.compile put before every name, in whatever order they were applied."""
OUTER = ("transformer.", "LinearTransformation.")
"""How names of the tower begin; those of a bare transformer lack the first."""
INNER = ("embeddings.", "encoder.", "pooler.")
"""How names of a bare transformer begin."""
_FINAL = "output."
"""How those of a pre-norm transformer's last LayerNorm begin, besides."""
_ABSENT = "embeddings.position_ids"
"""A buffer that older transformers releases wrote."""


def as_in_tower(tensors: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Tensors of other tools by their names in the tower, floating-point ones in float32.

    Raises ModelError for another model's names, and where two tensors get the same one.
    """

    def in_tower(name: str) -> str:
        inner = name
        while wrapper := next((wrapper for wrapper in WRAPPERS if inner.startswith(wrapper)), ""):
            inner = inner.removeprefix(wrapper)
        if inner.startswith((*INNER, _FINAL)):
            inner = OUTER[0] + inner
        if not inner.startswith(OUTER):
            raise ModelError(
                f"{source}: expected names of a text tower ({OUTER[0]}*, {OUTER[1]}*) or of a bare transformer "
                f"({', '.join(f'{start}*' for start in INNER)}), found {name}"
            )
        return inner

    return {
        name: value.float() if value.is_floating_point() else value
        for name, value in renamed(tensors, in_tower, source).items()
        if not name.endswith(_ABSENT)
    }


def renamed(tensors: Mapping[str, Tensor], rename: Callable[[str], str], source: str) -> dict[str, Tensor]:
    """Tensors by new names; raises ModelError where two get the same one."""
    given: dict[str, str] = {}
    for name in tensors:
        other = given.setdefault(rename(name), name)
        if other != name:
            raise ModelError(
                f"{source}: expected every tensor once, found {other} and {name}, which are both {rename(name)}; leave "
                "one of them out"
            )
    return {new: tensors[name] for new, name in given.items()}


def parts_of(names: Iterable[str], source: str) -> tuple[str, ...]:
    """The `--train` parts that trained parameters of the tower belong to; raises ModelError for any other parameter."""
    modules = {name.rpartition(".")[0] for name in names}
    endings = {part: {m for m in modules if ends_with(m, [ending])} for part, ending in PARTS.items()}
    other = sorted(modules.difference(*endings.values()))
    if other:
        raise ModelError(
            f"{source}: expected trained modules {', '.join(PARTS.values())} beside what was added, found "
            f"{', '.join(other[:3])}"
        )
    return tuple(part for part, members in endings.items() if members)


def selecting(hosts: Collection[str], modules: Iterable[str], endings: Sequence[str]) -> tuple[str, ...]:
    """Endings that select exactly the hosts among all modules: the given ones if they do, else the hosts' names."""
    exact = {module for module in modules if ends_with(module, endings)} == set(hosts)
    return tuple(endings) if exact else tuple(sorted(hosts))


def in_backbone(hosts: Iterable[str], source: str) -> tuple[str, ...]:
    """Hosts' names within the transformer, where xpet adds modules; raises ModelError for hosts outside it."""
    outside = sorted(host for host in hosts if not host.startswith(OUTER[0]))
    if outside:
        raise ModelError(f"{source}: expected additions inside the transformer, found one at {outside[0]}")
    return tuple(sorted(host.removeprefix(OUTER[0]) for host in hosts))
