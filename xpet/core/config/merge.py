"""What `xpet merge` needs."""

from __future__ import annotations

import math
from dataclasses import MISSING, dataclass

from xpet.core.choices import EXPORT_OPTIONS, FORM_NAMES, STRATEGY_DENSITIES
from xpet.core.config.fit import DEVICES
from xpet.core.config.kinds import BYTES, REPEATED, WEIGHTS
from xpet.core.config.options import OUTPUT, RUNS, SEVERAL, STORED, WHERE, Owner, group, option
from xpet.core.config.seeds import seed_problems
from xpet.core.errors import ConfigError, unknown

DTYPES = ("fp32", "fp16", "bf16")
_STRATEGY = Owner("strategy")
_WEIGHTS, _PYTORCH_BIN = (
    Owner("export", tuple(name for name, settings in EXPORT_OPTIONS.items() if setting in settings))
    for setting in ("dtype", "pytorch_bin")
)


@dataclass(frozen=True)
class CombineConfig:
    """How several languages' runs become one: see `xpet.methods.combining`."""

    strategy: str = option(
        MISSING, "--strategy", f"Combine the runs into one: {', '.join(STRATEGY_DENSITIES)}", SEVERAL,
        choices=tuple(STRATEGY_DENSITIES), common=True,
    )  # fmt: skip
    weights: tuple[float, ...] | None = option(
        None, "--weights", "A weight for each language, in the order of the runs", SEVERAL, default_text="1/languages",
        kind=WEIGHTS, owner=_STRATEGY,
    )  # fmt: skip
    density: float | None = option(
        None, "--density", "Share of the values kept, above 0 to 1", SEVERAL, default_text="ties 0.2, dare 0.5",
        owner=_STRATEGY,
    )  # fmt: skip
    """None: the strategy's own."""
    rank: int | None = option(
        None,
        "--rank",
        "Rank of the combined module",
        SEVERAL,
        default_text="exact; svd: the runs' own",
        owner=_STRATEGY,
    )
    """None: the smallest that loses nothing; for `svd` the largest of the runs'."""
    search: int = option(
        0, "--search", "Combinations of weights to try on validation", SEVERAL, owner=_STRATEGY,
        common=True,
    )  # fmt: skip
    seed: int = option(1, "--seed", "Seed of what dare drops and --search tries", SEVERAL, owner=_STRATEGY)

    @property
    def kept(self) -> float | None:
        """Share of the values that is kept, above 0 to 1; None where the strategy keeps all."""
        return self.density if self.density is not None else STRATEGY_DENSITIES[self.strategy]

    def problems(self) -> list[str]:
        """What is wrong with the settings, one text each."""
        problems, able = [], [name for name, density in STRATEGY_DENSITIES.items() if density is not None]
        if self.strategy not in STRATEGY_DENSITIES:
            problems.append(unknown("strategy", self.strategy, list(STRATEGY_DENSITIES)))
        elif self.density is not None and self.strategy not in able:
            problems.append(f"--density is for {', '.join(able)}: '{self.strategy}' keeps all values")
        weights = self.weights or ()
        problems += [f"--weights: expected numbers from 0, found {w:g}" for w in weights if not 0 <= w < math.inf]
        if self.weights is not None and not any(weights):
            problems.append("--weights: expected at least one above 0, found none")
        if self.density is not None and not 0 < self.density <= 1:
            problems.append(f"--density: expected a share above 0 and at most 1, found {self.density:g}")
        if self.rank is not None and self.rank < 1:
            problems.append(f"--rank must be at least 1, found {self.rank}")
        if self.search < 0:
            problems.append(f"--search: expected a number of combinations to try, found {self.search}")
        return problems + seed_problems("--seed", self.seed)


@dataclass(frozen=True)
class MergeConfig:
    """Everything `xpet merge` needs: the runs, what to make of them, and where to write it."""

    runs: tuple[str, ...] = option(
        MISSING, "", "Runs of xpet align, or adapters made elsewhere", RUNS, kind=REPEATED, metavar="RUN...",
        stored=False,
    )  # fmt: skip
    out: str = option(
        MISSING, "--out -o", "New folder for the merged model", OUTPUT, metavar="FOLDER", common=True,
        instead_of=("pack",),
    )  # fmt: skip
    model: str = option(
        "", "--model", "Where the base model is now", WHERE, default_text="as the run says", common=True
    )
    """Needed where it moved, or where a module made elsewhere does not say."""
    form: str = option(
        "checkpoint", "--export", f"Export for other software: {', '.join(FORM_NAMES[1:])}", STORED,
        default_text="fold into a checkpoint", choices=FORM_NAMES[1:], common=True,
    )  # fmt: skip
    """A name of `xpet.core.choices.FORM_NAMES`."""
    dtype: str = option(
        "fp32", "--dtype", f"Type the weights are stored in: {', '.join(DTYPES)}", STORED, choices=DTYPES,
        owner=_WEIGHTS, common=True,
    )  # fmt: skip
    shard_size: int = option(
        2 * 10**9, "--shard-size", "Largest size of one file of weights", STORED, kind=BYTES, owner=_WEIGHTS
    )
    pytorch_bin: bool = option(
        False, "--pytorch-bin", "PyTorch files for older loaders, in place of safetensors", STORED,
        owner=_PYTORCH_BIN,
    )  # fmt: skip
    verify: bool = option(True, "--verify", "Do not compare with the run on its test captions", STORED, default_text="")
    overwrite: bool = option(False, "--overwrite", "Replace an earlier output of xpet merge", OUTPUT, common=True)
    device: str = option("auto", "--device", "Device of the comparison: auto, cpu or cuda", STORED, choices=DEVICES)
    combine: CombineConfig | None = group(CombineConfig, optional=True)
    """How to combine the runs of several languages into one; None: there is a single run."""
    data_root: str | None = option(
        None, "--data-root", "Where the data is now whose captions are compared", WHERE, metavar="PATH"
    )

    def check(self) -> MergeConfig:
        """Self; raises ConfigError with every problem found, before anything is loaded."""
        problems = [] if self.dtype in DTYPES else [unknown("dtype", self.dtype, DTYPES)]
        if self.shard_size < 1:
            problems.append(f"shard size must be at least 1 byte, found {self.shard_size}")
        if self.device not in DEVICES:
            problems.append(unknown("device", self.device, DEVICES))
        problems += self.combine.problems() if self.combine is not None else []
        if self.combine is not None and self.combine.search and not self.verify:
            problems.append("--search measures on validation captions: it does not go with --no-verify")
        if problems:
            raise ConfigError(*problems)
        return self
