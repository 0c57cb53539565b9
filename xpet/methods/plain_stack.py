"""A stack of one run whose parameters are the tower's own: full fine-tuning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from xpet.core.errors import ModelError
from xpet.methods.stack import Reindex, Stack, TrainedTokens


class PlainStack(Stack):
    """A stack of one run whose parameters are the tower's own; the base's values are kept for `bare` and `reindex`."""

    def __init__(self, tower: nn.Module, parameters: dict[str, nn.Parameter]) -> None:
        self.parameters = parameters
        views = {name: p.data.unsqueeze(0) for name, p in parameters.items()}
        super().__init__(tower, views, lambda seeds: self._originals, [v.reshape(1, -1) for v in views.values()])
        self._originals = {name: p.data.clone() for name, p in parameters.items()}

    def reindex(self, kept: Sequence[int], seeds: Sequence[int], tokens: TrainedTokens | None = None) -> Reindex:
        """Write the base's values back: there is nothing to draw. Raises ModelError for anything but one new run."""
        if kept or len(seeds) != 1:
            raise ModelError(f"full fine-tuning cannot be stacked: expected 1 run, found {len(kept) + len(seeds)}")
        self._write(self._originals)
        return torch.zeros_like

    def to(self, device: torch.device | str) -> Stack:
        """Move the tower with its parameters; returns self."""
        self.tower.to(device)
        self.values.update({name: p.data.unsqueeze(0) for name, p in self.parameters.items()})
        self.flat = [value.reshape(1, -1) for value in self.values.values()]
        self._originals = {name: value.to(device) for name, value in self._originals.items()}
        return self

    def gradients(self) -> list[Tensor]:
        """Gradients of the tower's own parameters, tensors [1, n]."""
        return [
            (p.grad if p.grad is not None else torch.zeros_like(p)).reshape(1, -1) for p in self.parameters.values()
        ]

    def clear_gradients(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None

    @contextmanager
    def lowered(self, dtype: torch.dtype | None) -> Iterator[None]:
        """Nothing is frozen here, so nothing is lowered."""
        yield

    def casting(self, dtype: torch.dtype | None) -> AbstractContextManager[None]:
        """Autocast to `dtype` for the time of the block: the weights stay in single precision."""
        device = next(self.tower.parameters()).device.type
        return torch.autocast(device, dtype=dtype) if dtype is not None else nullcontext()  # type: ignore[return-value]

    @contextmanager
    def bare(self) -> Iterator[None]:
        """Give the tower the base's values for the time of the block."""
        trained = {name: p.data.clone() for name, p in self.parameters.items()}
        self._write(self._originals)
        try:
            yield
        finally:
            self._write(trained)

    def _write(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.data.copy_(values[name])
