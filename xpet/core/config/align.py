"""What `xpet align` needs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from xpet.core.choices import DEFAULT_WEIGHTS, LOSS_NAMES
from xpet.core.config.parts import DataConfig, FitConfig, MethodConfig, ModelConfig, RunConfig
from xpet.core.errors import ConfigError, unknown
from xpet.core.routines import find_routine


@dataclass(frozen=True)
class AlignConfig:
    """Everything `xpet align` needs. Tuple fields are swept: their product is trained side by side.

    `align_weights` None means each loss's own default (`xpet.core.choices.DEFAULT_WEIGHTS`).
    """

    languages: tuple[str, ...]
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=lambda: DataConfig(shots=100))
    method: MethodConfig = field(default_factory=MethodConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    routines: tuple[str, ...] = ("routine3",)
    losses: tuple[str, ...] = ("mse",)
    align_weights: tuple[float, ...] | None = None
    learning_rates: tuple[float, ...] = (5e-4,)
    seeds: tuple[int, ...] = (1,)
    out: str | None = None
    overwrite: bool = False

    def runs(self) -> Iterator[RunConfig]:
        """The product of everything that varies, languages outermost.

        A routine without an alignment loss is not repeated for every loss and weight.
        """
        runs: dict[RunConfig, None] = {}
        for language, routine, loss in itertools.product(self.languages, self.routines, self.losses):
            found = find_routine(routine)
            weights = self._weights(loss) if found.anchor else (0.0,)
            used = loss if found.anchor else self.losses[0]
            for weight, rate, seed in itertools.product(weights, self.learning_rates, self.seeds):
                runs[RunConfig(language, found.name, used, weight, rate, seed)] = None
        return iter(runs)

    def _weights(self, loss: str) -> tuple[float, ...]:
        return (DEFAULT_WEIGHTS[loss],) if self.align_weights is None else self.align_weights

    def check(self) -> AlignConfig:
        """Self with full routine names; raises ConfigError with every problem found, before anything is loaded."""
        problems = [*self.method.problems(), *self.fit.problems()]
        for name in self.routines:
            try:
                find_routine(name)
            except ConfigError as error:
                problems.extend(error.problems)
        problems += [unknown("loss", name, LOSS_NAMES) for name in self.losses if name not in LOSS_NAMES]
        rates, weights = self.learning_rates, self.align_weights or ()
        problems += [f"learning rate must be positive, found {r:g}" for r in rates if not 0 < r < math.inf]
        problems += [f"align weight must not be negative, found {w:g}" for w in weights if not 0 <= w < math.inf]
        axes = ("languages", "routines", "losses", "align_weights", "learning_rates", "seeds")
        problems += [f"expected at least one of {name}, found none" for name in axes if getattr(self, name) == ()]
        shots = self.data.shots
        if shots is not None and shots < 2:
            problems.append(f"shots must be at least 2, found {shots}")
        if self.data.val_shots is not None and self.data.val_shots < 2:
            problems.append(f"validation shots must be at least 2, found {self.data.val_shots}")
        if problems:
            raise ConfigError(*problems)
        return replace(self, routines=tuple(find_routine(name).name for name in self.routines))
