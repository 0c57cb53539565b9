"""One outcome of a method that is fitted in closed form: methods make them, training chooses among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class FittedCandidate:
    """One outcome of a closed form, of which validation chooses.

    Attributes:
        name: what its history says of it, such as `ridge 0.3`.
        features: features of the bare tower [n, d] -> those under the candidate [n, d].
        parameters: the parameters as the base has them, by name -> as the candidate has them.
    """

    name: str
    features: Callable[[Tensor], Tensor]
    parameters: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
