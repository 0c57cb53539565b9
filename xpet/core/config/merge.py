"""What `xpet merge` needs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from xpet.core.choices import STRATEGY_DENSITIES
from xpet.core.config.fit import DEVICES
from xpet.core.errors import ConfigError, unknown

DTYPES = ("fp32", "fp16", "bf16")


@dataclass(frozen=True)
class CombineConfig:
    """How several languages' runs become one: see `xpet.methods.combining`.

    `weights` are in the order of the languages, None gives each the same share; `density` None is the strategy's own;
    `rank` None is the smallest that loses nothing (`svd`: the largest of the runs'). `search` is how many combinations
    may be tried on validation to find weights and density (0: none); `seed` draws what is dropped and tried.
    """

    strategy: str
    weights: tuple[float, ...] | None = None
    density: float | None = None
    rank: int | None = None
    search: int = 0
    seed: int = 1

    @property
    def kept(self) -> float | None:
        """Share of the values that is kept, None where the strategy keeps all."""
        return self.density if self.density is not None else STRATEGY_DENSITIES[self.strategy]

    def problems(self) -> list[str]:
        """What is wrong with the settings, one text each."""
        found, able = [], [name for name, density in STRATEGY_DENSITIES.items() if density is not None]
        if self.strategy not in STRATEGY_DENSITIES:
            found.append(unknown("strategy", self.strategy, list(STRATEGY_DENSITIES)))
        elif self.density is not None and self.strategy not in able:
            found.append(f"--density is for {', '.join(able)}: '{self.strategy}' keeps all values")
        weights = self.weights or ()
        found += [f"--weights: expected numbers from 0, found {w:g}" for w in weights if not 0 <= w < math.inf]
        if self.weights is not None and not any(weights):
            found.append("--weights: expected at least one above 0, found none")
        if self.density is not None and not 0 < self.density <= 1:
            found.append(f"--density: expected a share above 0 and at most 1, found {self.density:g}")
        if self.rank is not None and self.rank < 1:
            found.append(f"--rank must be at least 1, found {self.rank}")
        if self.search < 0:
            found.append(f"--search: expected a number of combinations to try, found {self.search}")
        if not 0 <= self.seed < 2**63:
            found.append(f"--seed: expected a number from 0 to 2^63, found {self.seed}")
        return found


@dataclass(frozen=True)
class MergeConfig:
    """Everything `xpet merge` needs: runs (folders), and where what is made of them goes.

    `model` is where the base is, if it moved or a module made elsewhere does not say; `data_root` where the data is now
    whose test captions are compared. `form` is one of `merge.formats.FORMS`; `shard_size` is the most bytes of a file
    of weights; `pytorch_bin` writes PyTorch files in place of safetensors. With `combine` runs of several languages
    become one.
    """

    runs: tuple[str, ...]
    out: str
    model: str = ""
    form: str = "checkpoint"
    dtype: str = "fp32"
    shard_size: int = 2 * 10**9
    pytorch_bin: bool = False
    verify: bool = True
    overwrite: bool = False
    device: str = "auto"
    combine: CombineConfig | None = None
    data_root: str | None = None

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
