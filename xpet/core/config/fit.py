"""How runs are trained: what was asked for, and the same with everything decided."""

from __future__ import annotations

from dataclasses import dataclass, fields

from xpet.core.errors import unknown
from xpet.core.presets import DEFAULT, Preset
from xpet.core.selection import RULES

SELECTORS = tuple(RULES)
PRECISIONS = ("auto", "fp32", "tf32", "bf16")
DROPOUTS = ("off", "model")
LAYOUTS = ("packed", "padded")
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class FitConfig:
    """How every run is trained (paper, section 4). None stands for the preset's own value; see `xpet.core.presets`."""

    batch_size: int | None = None
    """Captions per step and run."""
    epochs: int | None = None
    """Passes over the training captions; where given, `most_steps` does not bound them."""
    steps: int | None = None
    """Steps, in place of epochs."""
    most_steps: int | None = None
    """Steps that a run takes at most, unless epochs or steps were asked for."""
    validate_every: int | None = None
    """Steps between validations; where neither is given nor the preset's: 20, or a fiftieth of all steps."""
    select: str | None = None
    """Which checkpoint is the best one: a name of `xpet.core.selection.RULES`."""
    latest_tie_wins: bool | None = None
    """Whether of equally good checkpoints the latest is kept (the reference's rule), not the earliest."""
    include_start: bool | None = None
    """Whether the module before its first step is a candidate too, and the last step is validated in any case."""
    dropout: str | None = None
    """`off`, or `model`: the frozen tower's own rates, as the reference trains."""
    device: str = "auto"
    """`auto` (a GPU where there is one), `cpu` or `cuda`."""
    precision: str | None = None
    """Of training: fp32, tf32 or bf16; `auto` is tf32 on a GPU and fp32 on a CPU."""
    stack: int | None = None
    """Runs trained side by side; None: as many as pay and fit."""
    layout: str = "packed"
    """Captions packed into common rows, or padded to the longest."""
    compile: bool = False
    """Compile the tower's layers first."""
    cuda_graphs: bool = False
    """Record steps on a GPU and replay them."""
    workers: int | None = None
    """Stacks trained at a time on a CPU; None: one for each core."""

    def complete(self, preset: Preset) -> FitPlan:
        """The same, with the preset's values where nothing was given."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        given = {name: value for name, value in given.items() if value is not None}
        free = {"most_steps": None} if self.epochs is not None else {}
        return FitPlan(**{**preset.of(FitConfig), **free, **given})

    def problems(self) -> list[str]:
        """What is wrong with the settings, one text each."""
        found = [
            f"{name} must be at least 1, found {value}"
            for name, value in (
                ("batch size", self.batch_size), ("epochs", self.epochs), ("steps", self.steps),
                ("validate-every", self.validate_every), ("stack", self.stack), ("workers", self.workers),
            )
            if value is not None and value < 1
        ]  # fmt: skip
        for what, value, known in (
            ("selection rule", self.select, SELECTORS), ("dropout", self.dropout, DROPOUTS),
            ("device", self.device, DEVICES), ("precision", self.precision, PRECISIONS),
            ("layout", self.layout, LAYOUTS),
        ):  # fmt: skip
            if value is not None and value not in known:
                found.append(unknown(what, value, known))
        if self.batch_size == 1:
            found.append("batch size 1 leaves a contrastive loss nothing to tell apart: expected at least 2")
        return found


@dataclass(frozen=True)
class FitPlan(FitConfig):
    """How every run is trained, with nothing left open: what the training room takes."""

    batch_size: int = DEFAULT.batch_size
    epochs: int = DEFAULT.epochs
    most_steps: int | None = DEFAULT.most_steps
    select: str = DEFAULT.select
    latest_tie_wins: bool = DEFAULT.latest_tie_wins
    include_start: bool = DEFAULT.include_start
    dropout: str = DEFAULT.dropout
    precision: str = DEFAULT.precision

    def steps_for(self, per_epoch: int) -> int:
        """Steps of a run whose epoch has `per_epoch` batches."""
        wanted = self.epochs * per_epoch
        return self.steps or min(wanted, self.most_steps or wanted)

    def interval(self, steps: int) -> int:
        """Steps between validations of a run of `steps` steps."""
        return self.validate_every or max(20, steps // 50)
