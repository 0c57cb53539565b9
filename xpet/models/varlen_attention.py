"""Attention of sequences that lie one after another, by kernels of the GPU that take their bounds: no mask is made.

Which kernel a device has for a type of numbers is tried out once, against plain products. A kernel that should work
and does not is left out with one warning. A CPU has none.
"""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from xpet.core.caption_packing import Sequences
from xpet.core.errors import XpetWarning, one_line

Kernel = Callable[[Tensor, Tensor, Tensor, Sequences, float], Tensor]
"""Queries, keys, values [tokens, heads, channels], the sequences, the scale -> [tokens, heads, channels]."""
Case = tuple[torch.device, torch.dtype, int, bool]
"""Device, type of numbers, channels of a head, whether it is causal."""

HALF = (torch.bfloat16, torch.float16)
TRIAL = (1, 37, 8, 130, 2, 1, 64)
"""Lengths of the sequences that kernels are tried out on: below, at and beyond the blocks they work on."""
TOLERANCE = {torch.bfloat16: 0.03, torch.float16: 0.01, torch.float32: 0.01}
"""Largest error that a kernel may have in the trial, relative to the largest value; in float32 it may use TF32."""

_found: dict[Case, Kernel | None] = {}


def kernel_for(device: torch.device, dtype: torch.dtype, channels: int, causal: bool = False) -> Kernel | None:
    """The first of KERNELS that works for heads of so many channels; None where there is none, as on a CPU."""
    if device.type != "cuda":
        return None
    if device.index is None:  # as accelerate's; tensors have a number, and it is tried out once
        device = torch.device(device.type, torch.cuda.current_device())
    case = (device, dtype, channels, causal)
    if case not in _found:
        if torch.cuda.is_current_stream_capturing():
            return None  # a trial waits for the device, which a recording must not
        _found[case] = _first_that_works(case)
    return _found[case]


def flash(query: Tensor, key: Tensor, value: Tensor, sequences: Sequences, scale: float) -> Tensor:
    """Attention [tokens, heads, channels] by `torch.nn.attention.varlen`; queries, keys, values of the same shape."""
    from torch.nn.attention.varlen import varlen_attn

    known = _parameters(varlen_attn)
    options: dict[str, Any] = {}
    if "scale" in known:
        options["scale"] = scale
    else:  # the first version has the usual scale only
        query = query * (scale * query.shape[-1] ** 0.5)
    if sequences.causal:
        options |= {"window_size": (-1, 0)} if "window_size" in known else {"is_causal": True}
    bounds, longest = sequences.bounds, sequences.longest
    out: Any = varlen_attn(query, key, value, bounds, bounds, longest, longest, **options)
    return out  # type: ignore[no-any-return]


@cache
def _parameters(function: Callable[..., object]) -> frozenset[str]:
    """Names of a function's parameters, which differ between PyTorch's versions."""
    return frozenset(inspect.signature(function).parameters)


def nested(query: Tensor, key: Tensor, value: Tensor, sequences: Sequences, scale: float) -> Tensor:
    """The same, [tokens, heads, channels] of the same shapes, by PyTorch's attention over jagged tensors."""
    bounds, longest = sequences.bounds, sequences.longest
    queries, keys, values = (
        torch.nested.nested_tensor_from_jagged(part.contiguous(), bounds, min_seqlen=1, max_seqlen=longest)
        for part in (query, key, value)
    )
    out = functional.scaled_dot_product_attention(
        queries.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2), is_causal=sequences.causal, scale=scale
    )
    return out.transpose(1, 2).values()


def products(query: Tensor, key: Tensor, value: Tensor, sequences: Sequences, scale: float) -> Tensor:
    """The same, [tokens, heads, channels] of the same shapes, by plain products over all tokens."""
    places = torch.arange(len(query), device=query.device)
    number = torch.bucketize(places, sequences.bounds[1:], right=True)
    seen = number.unsqueeze(1) == number
    if sequences.causal:
        seen = seen & (places.unsqueeze(1) >= places)
    scores = torch.einsum("qhc,khc->hqk", query, key) * scale
    weights = scores.masked_fill(~seen, -torch.inf).softmax(dim=-1)
    return torch.einsum("hqk,khc->qhc", weights, value)


KERNELS: Mapping[str, Kernel] = {"varlen_attn": flash, "nested": nested}
"""By name, the quicker first."""


def _first_that_works(case: Case) -> Kernel | None:
    """The first kernel that computes what plain products do; warns of the first that should and does not."""
    device, dtype, channels, causal = case
    problem = None
    for name, kernel in KERNELS.items():
        if not _is_made_for(name, device, dtype, channels):
            continue
        try:
            _try_out(kernel, case)
        except Exception as error:  # whatever it is, there is another way
            problem = problem or f"{name} ({one_line(error)})"
            continue
        break
    else:
        name, kernel = "a mask, which is slower,", None  # type: ignore[assignment]
    if problem is not None:
        kind = str(dtype).removeprefix("torch.")
        text = f"attention over sequences does not work on {device} in {kind} by {problem}; {name} is used"
        warnings.warn(text, XpetWarning, stacklevel=2)
    return kernel


def _is_made_for(name: str, device: torch.device, dtype: torch.dtype, channels: int) -> bool:
    """Whether a kernel is said to work there, by its documentation."""
    if name != "varlen_attn":
        return dtype in TOLERANCE
    try:
        from torch.nn.attention import varlen  # noqa: F401
    except ImportError:  # before PyTorch 2.10
        return False
    fits = channels % 8 == 0 and channels <= 256
    return dtype in HALF and fits and torch.cuda.get_device_capability(device) >= (8, 0)


def _try_out(kernel: Kernel, case: Case) -> None:
    """Raise an error unless a kernel agrees with plain products, forward and backward, and never waits."""
    device, dtype, channels, causal = case
    bounds = torch.tensor([0, *TRIAL], dtype=torch.int32).cumsum(0, dtype=torch.int32).to(device)
    sequences = Sequences(bounds, 2 ** max(TRIAL).bit_length(), causal)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(4, sum(TRIAL), 2, channels, generator=generator).to(device, dtype)
    expected = _with_gradients(products, drawn.double(), sequences)
    with _quiet():
        found = _with_gradients(kernel, drawn, sequences)
        for one, other in zip(found, expected, strict=True):
            error = float((one.double() - other).abs().max() / other.abs().max())
            if not error <= TOLERANCE[dtype]:  # also where it is not a number
                raise ArithmeticError(f"it is off by {error:.2g}")
        with _not_waiting(device):
            _with_gradients(kernel, drawn, sequences)


def _with_gradients(kernel: Kernel, drawn: Tensor, sequences: Sequences) -> tuple[Tensor, ...]:
    """What a kernel makes of queries, keys and values `drawn` [:3], and their gradients of `drawn` [3].

    `drawn` is [4, tokens, heads, channels]; each tensor returned is [tokens, heads, channels].
    """
    device = drawn.device.type
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device, enabled=False):
        query, key, value = (part.clone().requires_grad_() for part in drawn[:3])
        out = kernel(query, key, value, sequences, drawn.shape[-1] ** -0.5)
        gradients = torch.autograd.grad(out, (query, key, value), drawn[3].clone())
    return out.detach(), *gradients


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep PyTorch from taking plain products in a kernel's place, and from logging why, for the block.

    Also from what it logs the first time that jagged tensors are made.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel

    logs = [logging.getLogger(name) for name in ("torch.nested._internal.sdpa", "torch.fx._symbolic_trace")]
    before = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.ERROR)
    try:
        with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]):
            yield
    finally:
        for log, level in zip(logs, before, strict=True):
            log.setLevel(level)


@contextmanager
def _not_waiting(device: torch.device) -> Iterator[None]:
    """Raise an error where the block waits for a GPU, since what waits cannot be recorded."""
    if device.type != "cuda":
        yield
        return
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns once that it does not notice everything
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)
