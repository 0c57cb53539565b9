"""The only importer of OpenDelta: what is mended, and why.

OpenDelta 0.3.2 (2023, unmaintained) supplies the delta modules and the surgery that attaches them to a frozen
backbone. On today's Python and transformers it does not import as it is, and it would drag in software that a
training tool has no business loading. While it is imported, and only then, these stand-ins are in `sys.modules`:

- `DeltaCenter`: a network client (object store, git) for sharing deltas. Never used; a stub without any function.
- `web` (through `opendelta.utils.interactive.web`): a web server for interactive editing. Never used; stubbed.
- `turtle`: imported by accident (`from turtle import back`), needs Tk. Stubbed.
- `transformers.deepspeed`: moved to `transformers.integrations.deepspeed`; aliased.
- `transformers.models.distilbert.modeling_distilbert.MultiHeadSelfAttention`: gone; only used by prefix tuning's
  isinstance checks. A placeholder class that nothing is an instance of.

Afterwards the stand-ins are taken out again, so nobody else sees them. Python's warning about invalid escape sequences
in OpenDelta's sources, which the first import shows, is suppressed. Further mends, at run time:

- OpenDelta swallows exceptions of its pseudo-forward and leaves modules without parameters: `attach` raises for them.
- `freeze_module(set_state_dict=True)` replaces `state_dict` and loses outer parameters: never called.
- Attaching happens in eval mode, so that dropout draws no random numbers.
- Initial values are drawn on the CPU whatever the tower's device, so that they do not depend on it; from torch's one
  generator, by one thread at a time.

Prefix tuning cannot be offered: OpenDelta knows T5, DistilBERT, BERT, RoBERTa, GPT-2 and BART attention with
`past_key_value` tuples; XLM-R's attention class is none of them, and transformers 5 dropped the tuples.
"""

from __future__ import annotations

import importlib
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any

import torch
from torch import nn

from xpet.core.errors import ModelError
from xpet.methods.parts import HOSTS


def _stub(name: str, **attributes: object) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(attributes)
    return module


def _unavailable(*args: object, **kwargs: object) -> None:
    raise RuntimeError("xpet stubs this part of OpenDelta out; see xpet/methods/bridge.py")


@contextmanager
def _stand_ins() -> Iterator[None]:
    """Put the stand-ins into sys.modules for the time of the block, then restore what was there."""
    stubs = {
        "DeltaCenter": _stub("DeltaCenter", OssClient=None),
        "turtle": _stub("turtle", back=None),
        "opendelta.utils.interactive.web": _stub("opendelta.utils.interactive.web", interactive=_unavailable),
        "transformers.deepspeed": importlib.import_module("transformers.integrations.deepspeed"),
    }
    distilbert = importlib.import_module("transformers.models.distilbert.modeling_distilbert")
    lacking = not hasattr(distilbert, "MultiHeadSelfAttention")
    if lacking:
        distilbert.MultiHeadSelfAttention = type("MultiHeadSelfAttention", (), {})  # type: ignore[attr-defined]
    before = {name: sys.modules.get(name) for name in stubs}
    sys.modules.update(stubs)
    try:
        yield
    finally:
        if lacking:
            del distilbert.MultiHeadSelfAttention  # type: ignore[attr-defined]
        for name, module in before.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module


@contextmanager
def _without_its_warning() -> Iterator[None]:
    """Suppress the warning that compiling OpenDelta's sources gives, and no other."""
    with warnings.catch_warnings():
        for category in (SyntaxWarning, DeprecationWarning):  # Python 3.12 and later; before
            warnings.filterwarnings("ignore", r".*invalid escape sequence", category, r".*[/\\]opendelta[/\\]")
        yield


@lru_cache(maxsize=1)
def opendelta() -> Any:
    """The mended `opendelta` package; raises ModelError when it cannot be imported at all."""
    try:
        with _stand_ins(), _without_its_warning():
            return importlib.import_module("opendelta")
    except ImportError as error:
        raise ModelError(f"expected the package opendelta 0.3.2, found: {error}; reinstall xpet with pip") from error


_drawing = threading.RLock()
"""Held by the thread that draws from torch's generator."""


@contextmanager
def drawing(seed: int) -> Iterator[None]:
    """Seed torch's generator, which OpenDelta draws from, for the time of the block; restore its state afterwards.

    All threads share the generator, so one thread at a time is in such a block.
    """
    with _drawing, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@dataclass(frozen=True)
class DeltaSite:
    """One delta module in the backbone: `host.<name>` is `module`, `path` is its dotted name in the backbone."""

    path: str
    host: nn.Module
    name: str
    module: nn.Module
    fresh: Callable[[], nn.Module]
    """Makes a module of the same shapes with newly drawn initial values, as a fresh attach would."""


def attach(backbone: nn.Module, delta_class: str, modules: tuple[str, ...], **settings: object) -> list[DeltaSite]:
    """Let OpenDelta attach delta modules (`delta_class`, e.g. 'LoraModel') to all whose names end as in `modules`.

    The backbone must be frozen and in eval mode. Raises ModelError when a delta module got no parameters.
    """
    kind = getattr(opendelta(), delta_class)
    _quieten()
    delta = kind(backbone_model=backbone, modified_modules=list(modules), **settings)
    sites = []
    for path, host in backbone.named_modules():
        for info in getattr(host, "_delta_infos", ()):
            module = info["delta_module"]
            name = info["delta_name"]
            sites.append(DeltaSite(f"{path}.{name}", host, name, module, _maker(delta, host, module)))
    if not sites or any(not list(site.module.parameters()) for site in sites):
        raise ModelError(
            f"{delta_class} found nothing to attach to: expected modules named {', '.join(modules)}; those of a layer "
            f"are {', '.join(HOSTS)} in every tower, whatever its checkpoint calls them"
        )
    return sites


def unfreeze_biases(backbone: nn.Module, modules: tuple[str, ...]) -> None:
    """Let OpenDelta's BitFit unfreeze the bias terms below the named modules."""
    _quieten()
    opendelta().BitFitModel(backbone_model=backbone, modified_modules=list(modules))


def _maker(delta: Any, host: nn.Module, module: nn.Module) -> Callable[[], nn.Module]:
    """The function `DeltaSite.fresh` of OpenDelta's `module` at a host."""

    def fresh() -> nn.Module:
        like = _on_cpu(host)
        made: nn.Module = delta.new_module_like(like)
        if hasattr(made, "instantiate"):  # adapters make their layers only when they first see hidden states
            weight = next(like.parameters())
            made.instantiate(torch.empty(1, 1, module.hidden_dim, dtype=weight.dtype, device=weight.device))  # type: ignore[operator, call-overload]
        return made

    return fresh


def _on_cpu(host: nn.Module) -> nn.Module:
    """The host, or an uninitialised linear layer of its shape on the CPU when it lies on a GPU."""
    weight = next(host.parameters())
    if not isinstance(host, nn.Linear) or weight.device.type in ("cpu", "meta"):
        return host
    return nn.utils.skip_init(nn.Linear, host.in_features, host.out_features, dtype=weight.dtype, device="cpu")


def _quieten() -> None:
    """Let OpenDelta's loggers show errors only."""
    import logging

    for name in [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "opendelta"]:
        logging.getLogger(name).setLevel(logging.ERROR)


def load_finetuned(folder: str, backbone: nn.Module) -> None:
    """Let OpenDelta attach the delta modules of a folder in its own format to a backbone, and load their weights.

    Nothing in the files is unpickled but tensors. Raises ModelError when OpenDelta cannot.
    """
    package = opendelta()
    _quieten()
    try:
        package.AutoDeltaModel.from_finetuned(folder, backbone_model=backbone, local_files_only=True)
    except Exception as error:  # OpenDelta raises many kinds
        raise ModelError(f"{folder}: OpenDelta cannot load it: {error}") from error
