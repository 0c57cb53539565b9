"""What `xpet align` needs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from xpet.core.choices import PICTURE_LOSSES, default_weight, loss_terms
from xpet.core.config.parts import DataConfig, FitConfig, MethodConfig, ModelConfig, RunConfig, TextConfig
from xpet.core.errors import ConfigError
from xpet.core.routines import find_routine


@dataclass(frozen=True)
class AlignConfig:
    """Everything `xpet align` needs. Tuple fields are swept: their product is trained side by side.

    `align_weights` None means each loss's own default (`xpet.core.choices.default_weight`), `image_weight` None 1,
    and 0 for routine `text`. `start` is a folder of runs (or what else holds modules) that training goes on from.
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
    text: TextConfig = field(default_factory=TextConfig)
    image_weight: float | None = None
    start: str | None = None

    def runs(self) -> Iterator[RunConfig]:
        """The product of everything that varies, languages outermost.

        A routine without an alignment loss is not repeated for every loss and weight.
        """
        runs: dict[RunConfig, None] = {}
        for language, routine, loss in itertools.product(self.languages, self.routines, self.losses):
            found = find_routine(routine)
            weights = self._weights(loss) if found.anchor else (0.0,)
            used = loss if found.anchor else self.losses[0]
            image = float(not found.text_only) if self.image_weight is None else self.image_weight
            for weight, rate, seed in itertools.product(weights, self.learning_rates, self.seeds):
                runs[RunConfig(language, found.name, used, weight, rate, seed, image)] = None
        return iter(runs)

    def _weights(self, loss: str) -> tuple[float, ...]:
        return (default_weight(loss),) if self.align_weights is None else self.align_weights

    def check(self) -> AlignConfig:
        """Self with full routine names; raises ConfigError with every problem found, before anything is loaded."""
        problems = [*self.method.problems(), *self.fit.problems(), *self.text.problems()]
        for look_up, names in ((find_routine, self.routines), (loss_terms, self.losses)):
            for name in names:
                try:
                    look_up(name)
                except ConfigError as error:
                    problems.extend(error.problems)
        rates, weights = self.learning_rates, self.align_weights or ()
        problems += [f"learning rate must be positive, found {r:g}" for r in rates if not 0 < r < math.inf]
        problems += [f"align weight must not be negative, found {w:g}" for w in weights if not 0 <= w < math.inf]
        axes = ("languages", "routines", "losses", "align_weights", "learning_rates", "seeds")
        problems += [f"expected at least one of {name}, found none" for name in axes if getattr(self, name) == ()]
        problems += [] if problems else self._without_pictures()
        shots = self.data.shots
        if shots is not None and shots < 2:
            problems.append(f"shots must be at least 2, found {shots}")
        if self.data.val_shots is not None and self.data.val_shots < 2:
            problems.append(f"validation shots must be at least 2, found {self.data.val_shots}")
        if problems:
            raise ConfigError(*problems)
        return replace(self, routines=tuple(find_routine(name).name for name in self.routines))

    @property
    def text_only(self) -> bool:
        """Whether some routine is trained on a corpus."""
        return any(find_routine(name).text_only for name in self.routines)

    @property
    def needs_train_pictures(self) -> bool:
        """Whether features of the training pictures are used."""
        return bool(self.image_weight) or not all(find_routine(name).text_only for name in self.routines)

    @property
    def needs_validation_pictures(self) -> bool:
        """Whether features of the validation pictures are used."""
        return not (self.text.validates_on_text and all(find_routine(name).text_only for name in self.routines))

    def _without_pictures(self) -> list[str]:
        """Settings that do not go with a routine without pictures, or only with it."""
        found = []
        weight = self.image_weight
        if weight is not None and not 0 <= weight < math.inf:
            found.append(f"image weight must not be negative, found {weight:g}")
        if not self.text_only:
            if self.text != TextConfig():
                found.append("--corpus and the options of its translation need --routine text")
            return found
        if self.text.validates_on_text and not all(find_routine(name).text_only for name in self.routines):
            found.append(
                "routine 'text' is validated on text here and the others on pictures, which is not comparable: train "
                "them one after another by --chain, or all with --validate-on pictures"
            )
        seen = [name for name in self.losses if set(loss_terms(name)) & set(PICTURE_LOSSES)]
        if seen:
            found.append(f"loss '{seen[0]}' needs pictures, routine 'text' has none: choose another")
        return found
