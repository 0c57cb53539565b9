"""What `xpet merge` needs."""

from __future__ import annotations

from dataclasses import dataclass

from xpet.core.config.parts import DEVICES
from xpet.core.errors import ConfigError, unknown

DTYPES = ("fp32", "fp16", "bf16")


@dataclass(frozen=True)
class MergeConfig:
    """Everything `xpet merge` needs: runs (folders), and where what is made of them goes.

    `model` is where the base is, if it moved or a module made elsewhere does not say. `form` is one of
    `xpet.jobs.forms.FORMS`; `shard_size` is the most bytes of a file of weights; `pytorch_bin` writes
    PyTorch files in place of safetensors.
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

    def check(self) -> MergeConfig:
        """Self; raises ConfigError with every problem found, before anything is loaded."""
        problems = [] if self.dtype in DTYPES else [unknown("dtype", self.dtype, DTYPES)]
        if self.shard_size < 1:
            problems.append(f"shard size must be at least 1 byte, found {self.shard_size}")
        if self.device not in DEVICES:
            problems.append(unknown("device", self.device, DEVICES))
        if problems:
            raise ConfigError(*problems)
        return self
