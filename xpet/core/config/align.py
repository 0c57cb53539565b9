"""What `xpet align` needs: `AlignConfig` is what was asked for, `AlignPlan` the same with every default filled in."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace

from xpet.core.choices import FITTED_METHODS, TRACKER_NAMES
from xpet.core.config.fit import FitConfig, FitPlan
from xpet.core.config.kinds import NAMES_OR_NONE
from xpet.core.config.options import (
    OPTIMISATION,
    OUTPUT,
    TIMEOUT,
    TRAINED,
    WHAT,
    Owner,
    declared,
    group,
    made,
    option,
    options_of,
    problems_of,
    timeout_problems,
)
from xpet.core.config.parts import DEMO, DataConfig, MethodConfig, ModelConfig, RunConfig, TextConfig
from xpet.core.config.seeds import seed_problems
from xpet.core.errors import ConfigError, unknown
from xpet.core.losses import ALIGNMENT_LOSSES, default_weight, loss_terms, reads_images
from xpet.core.presets import DEFAULT, PRESETS, preset_of
from xpet.core.routines import ROUTINES, SHORT, find_routine


@dataclass(frozen=True)
class AlignConfig:
    """Everything `xpet align` needs. Tuple fields are swept: their product is trained side by side.

    None stands for the preset's value, which `check` fills in. The command line passes only what was typed, so that it
    and Python train the same.
    """

    languages: tuple[str, ...] = option(("de",), "--lang -l", "Languages, or 'all' (but English)", WHAT, common=True)
    model: ModelConfig = group(ModelConfig)
    """The towers."""
    data: DataConfig = group(DataConfig)
    """Captions and pictures."""
    method: MethodConfig = group(MethodConfig)
    """What is trained."""
    fit: FitConfig = group(FitConfig)
    """How it is trained."""
    routines: tuple[str, ...] = option(
        ("routine3",), "--routine -r",
        "How to train: 1, 2, 3 (of the paper), text (without pictures), baseline-target, baseline-translated", WHAT,
        default_text="3, the paper's best", choices=(*SHORT, *ROUTINES), common=True,
    )  # fmt: skip
    """Names of `xpet.core.routines.ROUTINES`, or 1, 2, 3 for short (paper, section 3.2)."""
    losses: tuple[str, ...] | None = option(
        None, "--loss", f"Alignment loss: {', '.join(ALIGNMENT_LOSSES)}, or a sum a+0.1*b", OPTIMISATION,
        choices=tuple(ALIGNMENT_LOSSES), common=True, owner=TRAINED,
    )  # fmt: skip
    """Alignment losses (paper, section 3.2). None: the preset's; routine `text` trained alone has another default."""
    align_weights: tuple[float, ...] | None = option(
        None,
        "--align-weight -w",
        "Weight of the alignment loss",
        OPTIMISATION,
        default_text="0.1, or 1 for scale-free ones",
        owner=TRAINED,
    )
    """None: the preset's, or each loss's own (`xpet.core.losses.default_weight`)."""
    learning_rates: tuple[float, ...] | None = option(
        None, "--lr", "Learning rate of Adam", OPTIMISATION, common=True, owner=TRAINED
    )
    seeds: tuple[int, ...] = option((1,), "--seed", "Seed of initial values and batches", OPTIMISATION, common=True)
    out: str | None = option(
        None, "--out -o", "Folder of the run, or of the sweep", OUTPUT, default_text="a new one in the cache",
        metavar="FOLDER", common=True,
    )  # fmt: skip
    overwrite: bool = option(False, "--overwrite", "Replace what an earlier command left at --out", OUTPUT, common=True)
    checkpoint_every: float = option(
        5.0, "--checkpoint-every", "Minutes between checkpoints, which a stopped command goes on from; 0: every step",
        OUTPUT,
    )  # fmt: skip
    """Writing them takes at most a hundredth of the time, unless it is 0."""
    text: TextConfig = group(TextConfig)
    """What routine `text` learns from."""
    image_weight: float | None = option(
        None, "--image-weight", "Weight of the image-text loss", OPTIMISATION, default_text="1; routine text: 0",
        owner=TRAINED,
    )  # fmt: skip
    start: str | None = option(
        None, "--from", "Go on training from a run, folder of runs, pack or adapter", WHAT, metavar="PATH", common=True
    )
    preset: str = option(
        "default", "--preset", "Other defaults: paper (its search of 15 runs)", WHAT, default_text="",
        choices=tuple(PRESETS), common=True,
    )  # fmt: skip
    """Where the defaults come from: a name of `xpet.core.presets.PRESETS`."""
    chain: bool = option(False, "--chain", "Train the routines one after another, each from the last", WHAT)
    """Without it, several routines are swept: each is trained by itself."""
    track: tuple[str, ...] = option(
        (), "--track", f"Send figures to experiment trackers: {', '.join(TRACKER_NAMES)}", OUTPUT,
        default_text="", kind=NAMES_OR_NONE, choices=TRACKER_NAMES,
    )  # fmt: skip
    """Names of `xpet.core.choices.TRACKER_NAMES`; all but tensorboard and dvclive may use the network."""
    track_to: str | None = option(
        None, "--track-to", "Folder for the files of trackers", OUTPUT, default_text="OUT.tracking, beside --out",
        metavar="FOLDER", owner=Owner("track"),
    )  # fmt: skip
    timeout: float = declared(30.0, TIMEOUT)
    """Minutes without a sign of life after which other processes of this command count as lost."""

    def phases(self) -> tuple[AlignConfig, ...]:
        """The configurations to train one after another: itself, or with `chain` one for each routine.

        Only the phase of routine `text` gets the `text` options. Raises ConfigError for a chain of fewer than two
        routines, or of a method that is fitted.
        """
        if not self.chain:
            return (self,)
        if len(self.routines) < 2:
            names = ", ".join(self.routines) or "none"
            raise ConfigError(f"--chain: expected several routines in --routine, found {names}")
        if self.is_fitted:
            raise ConfigError(f"--method {self.method.name} is fitted anew each time: leave out --chain")
        return tuple(
            replace(
                self, routines=(routine,), chain=False,
                text=self.text if find_routine(routine).text_only else TextConfig(),
            )
            for routine in self.routines
        )  # fmt: skip

    def check(self) -> AlignPlan:
        """The plan of what is trained: the preset's values in place of None, and full routine names.

        Raises ConfigError with every problem found, before anything is loaded.
        """
        problems = [*self.method.problems(), *self.fit.problems(), *self.text.problems(), *self._numbers()]
        problems += timeout_problems(self.timeout)
        problems += [unknown("tracker", name, TRACKER_NAMES) for name in self.track if name not in TRACKER_NAMES]
        named: tuple[tuple[Callable[[str], object], Sequence[str]], ...] = (
            (find_routine, self.routines), (loss_terms, self.losses or ()),
            (lambda name: preset_of(name, ()), (self.preset,)),
        )  # fmt: skip
        for look_up, names in named:
            for name in names:
                try:
                    look_up(name)
                except ConfigError as error:
                    problems.extend(error.problems)
        axes = ("languages", "routines", "losses", "align_weights", "learning_rates", "seeds")
        problems += [f"expected at least one of {name}, found none" for name in axes if getattr(self, name) == ()]
        if self.chain:
            problems.append("chain: expected its phases to be checked one by one, found them together; see phases()")
        problems += [] if problems else [*problems_of(self), *self._fitted(), *self._without_pictures()]
        problems += [*self.data.problems(), *self.model.problems()]
        if problems:
            raise ConfigError(*problems)
        return self._complete()

    def _numbers(self) -> list[str]:
        rates, weights = self.learning_rates or (), self.align_weights or ()
        problems = [f"learning rate must be positive, found {r:g}" for r in rates if not 0 < r < math.inf]
        problems += [f"align weight must not be negative, found {w:g}" for w in weights if not 0 <= w < math.inf]
        if not 0 <= self.checkpoint_every < math.inf:
            problems.append(f"checkpoint-every must not be negative, found {self.checkpoint_every:g}")
        return problems + [problem for seed in self.seeds for problem in seed_problems("seed", seed)]

    def _complete(self) -> AlignPlan:
        if self.is_fitted:
            return self._untrained()._plan()
        return self._plan()

    def _untrained(self) -> AlignConfig:
        """The same without settings of training, so that plans that differ in nothing else are equal."""
        entries = [entry for entry in options_of(AlignConfig) if entry.path[0] != "method"]
        unused = {entry.key: entry.value for entry in entries if entry.option.owner == TRAINED}
        config: AlignConfig = made(AlignConfig, unused, self)
        return config

    def _plan(self) -> AlignPlan:
        preset = preset_of(self.preset, self.routines)
        given = {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}
        data = {name: value for name, value in vars(self.data).items() if value is not None}
        decided = {
            "model": replace(self.model, text=self.model.text or DEMO),
            "data": DataConfig(**{**preset.of(DataConfig), **data, "name": self.data.name or DEMO}),
            "fit": self.fit.complete(preset),
            "routines": tuple(find_routine(name).name for name in self.routines),
        }  # fmt: skip
        return AlignPlan(**{**preset.of(AlignConfig), **given, **decided})

    @property
    def is_fitted(self) -> bool:
        """Whether the method is fitted in closed form, not trained."""
        return self.method.name in FITTED_METHODS

    def slots_of(self, routine: str) -> tuple[str, ...]:
        """Every text slot of the data's captions that a routine reads; a method that is fitted always reads English."""
        record = find_routine(routine)
        fitted = self.is_fitted and not record.text_only
        return tuple(dict.fromkeys((*record.slots, "pivot"))) if fitted else record.slots

    @property
    def text_only(self) -> bool:
        """Whether some routine is trained on a corpus."""
        return any(find_routine(name).text_only for name in self.routines)

    @property
    def needs_train_pictures(self) -> bool:
        """Whether features of the training pictures are used."""
        if self.is_fitted:
            return False
        return bool(self.image_weight) or not all(find_routine(name).text_only for name in self.routines)

    @property
    def needs_validation_pictures(self) -> bool:
        """Whether features of the validation pictures are used."""
        return not (self.text.validates_on_text and all(find_routine(name).text_only for name in self.routines))

    def _fitted(self) -> list[str]:
        """Problems of a method that is fitted: routines without an anchor, and runs to go on from."""
        if not self.is_fitted:
            return []
        able = [name for name, routine in ROUTINES.items() if routine.anchor is not None]
        unable = [name for name in self.routines if find_routine(name).name not in able]
        problems = [
            f"--method {self.method.name} is fitted to English captions: expected --routine {' or '.join(able)}, found "
            f"{name}, which aligns with none" for name in unable
        ]  # fmt: skip
        if self.start is not None:
            problems.append(f"--method {self.method.name} is fitted anew each time: leave out --from {self.start}")
        return problems

    def _without_pictures(self) -> list[str]:
        """Problems of the image weight, and of what does not go with routine `text`."""
        problems = []
        weight = self.image_weight
        if weight is not None and not 0 <= weight < math.inf:
            problems.append(f"image weight must not be negative, found {weight:g}")
        if not self.text_only:
            return problems
        if self.text.validates_on_text and not all(find_routine(name).text_only for name in self.routines):
            problems.append(
                "routine 'text' is validated on text here and the others on pictures, which is not comparable: train "
                "them one after another by --chain, or all with --validate-on pictures"
            )
        seen = [name for name in self.losses or () if reads_images(name)]
        if seen:
            problems.append(f"loss '{seen[0]}' needs pictures, routine 'text' has none: choose another")
        return problems


@dataclass(frozen=True)
class AlignPlan(AlignConfig):
    """What `xpet align` trains, every default filled in; made by `AlignConfig.check`."""

    fit: FitPlan = field(default_factory=FitPlan)
    losses: tuple[str, ...] = DEFAULT.losses
    align_weights: tuple[float, ...] | None = None
    learning_rates: tuple[float, ...] = DEFAULT.learning_rates

    def runs(self) -> Iterator[RunConfig]:
        """The runs to train: the product of all swept values, languages outermost.

        A routine without an alignment loss has one run, not one for every loss and weight; a method that is fitted has
        one, not one for every setting of training.
        """
        runs: dict[RunConfig, None] = {}
        most = 1 if self.is_fitted else None
        rates = self.learning_rates[:most]
        for language, routine, loss in itertools.product(self.languages, self.routines, self.losses[:most]):
            record = find_routine(routine)
            weights = self._weights(loss)[:most] if record.anchor else (0.0,)
            used = loss if record.anchor else self.losses[0]
            image = float(not record.text_only) if self.image_weight is None else self.image_weight
            for weight, rate, seed in itertools.product(weights, rates, self.seeds):
                runs[RunConfig(language, record.name, used, weight, rate, seed, image)] = None
        return iter(runs)

    def _weights(self, loss: str) -> tuple[float, ...]:
        return (default_weight(loss),) if self.align_weights is None else self.align_weights
