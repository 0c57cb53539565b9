"""How runs are trained: `FitConfig` is what was asked for, `FitPlan` the same with every default filled in."""

from __future__ import annotations

from dataclasses import dataclass, fields

from xpet.core.config.options import OPTIMISATION, SPEED, TRAINED, option
from xpet.core.errors import unknown
from xpet.core.losses import BIASED, IMAGE_LOSSES, SCALE
from xpet.core.presets import DEFAULT, Preset
from xpet.core.selection import RULES

SELECTORS = tuple(RULES)
PRECISIONS = ("auto", "fp32", "tf32", "bf16")
DROPOUTS = ("off", "model")
MODEL_SCALE = "model"
LOGIT_SCALES = (f"{SCALE:g}", MODEL_SCALE)
LAYOUTS = ("packed", "padded")
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class FitConfig:
    """How every run is trained (paper, section 4). None stands for the preset's own value; see `xpet.core.presets`."""

    batch_size: int | None = option(None, "--batch-size", "Captions per step and run", OPTIMISATION, owner=TRAINED)
    epochs: int | None = option(
        None, "--epochs", "Passes over the training captions", OPTIMISATION,
        default_text=f"{DEFAULT.epochs}, at most {DEFAULT.most_steps:,} steps", common=True, instead_of=("steps",),
        owner=TRAINED,
    )  # fmt: skip
    """Where given, `most_steps` does not limit them."""
    steps: int | None = option(
        None, "--steps", "Steps, in place of epochs", OPTIMISATION, instead_of=("epochs",), owner=TRAINED
    )
    most_steps: int | None = None
    """Steps that a run takes at most, unless epochs or steps were asked for."""
    validate_every: int | None = option(
        None,
        "--validate-every",
        "Steps between validations",
        OPTIMISATION,
        default_text="20, or a fiftieth of the steps",
        owner=TRAINED,
    )
    select: str | None = option(
        None, "--select", "What chooses the best checkpoint on validation: loss, mrr or r1", OPTIMISATION,
        choices=SELECTORS,
    )  # fmt: skip
    """A name of `xpet.core.selection.RULES`; the paper's is r1."""
    latest_tie_wins: bool | None = None
    """Whether the latest of equally good checkpoints is kept (the reference's rule), not the earliest."""
    include_start: bool | None = None
    """Whether the module before its first step is a candidate too, and the last step is validated in any case."""
    dropout: str | None = option(
        None,
        "--dropout",
        "Dropout in training: off, or model (the tower's own rates, as in the paper)",
        OPTIMISATION,
        choices=DROPOUTS,
        owner=TRAINED,
    )
    image_loss: str | None = option(
        None, "--image-loss", f"Image-text loss: {' or '.join(IMAGE_LOSSES)} (SigLIP's)", OPTIMISATION,
        default_text="softmax, the paper's", choices=tuple(IMAGE_LOSSES), owner=TRAINED,
    )  # fmt: skip
    """A name of `xpet.core.losses.IMAGE_LOSSES`; None: softmax."""
    logit_scale: str | None = option(
        None, "--logit-scale", "Scale of the image-text loss: 100, or model (the model's own)", OPTIMISATION,
        default_text="100; sigmoid: model, with its bias", choices=LOGIT_SCALES, owner=TRAINED,
    )  # fmt: skip
    """None: 100, or the model's own for losses that need its bias, too."""
    device: str = option("auto", "--device", "auto (a GPU if there is one), cpu or cuda", SPEED, choices=DEVICES)
    precision: str | None = option(
        None, "--precision", "Precision of training: auto (tf32 on a GPU, fp32 on a CPU), fp32, tf32 or bf16", SPEED,
        choices=PRECISIONS,
    )  # fmt: skip
    stack: int | None = option(
        None, "--stack", "Runs trained side by side", SPEED, default_text="as many as pay and fit", owner=TRAINED
    )
    layout: str = option(
        "packed", "--layout", "Captions packed into common rows, or padded; same numbers", SPEED, choices=LAYOUTS
    )
    gradient_cache: int | None = option(
        None,
        "--gradient-cache",
        "Captions of a run encoded at a time: features first, then gradients in slices; for batches larger than memory",
        SPEED,
        default_text="all at once",
        owner=TRAINED,
    )
    compile: bool = option(False, "--compile", "Compile the tower's layers first; takes minutes", SPEED, owner=TRAINED)
    cuda_graphs: bool | None = option(
        None, "--cuda-graphs", "Record steps on a GPU and replay them; --no-cuda-graphs: never", SPEED,
        default_text="where it is possible", owner=TRAINED,
    )  # fmt: skip
    """None: where steps can be recorded they are, elsewhere nothing is said; True: it is an error where they cannot."""
    fused: bool = option(True, "--fused", "Leave Triton's kernels out on a GPU", SPEED, owner=TRAINED)
    """Whether kernels of xpet's own are used where they work; else plain PyTorch computes the same."""
    workers: int | None = option(
        None, "--workers", "Stacks trained at a time on a CPU", SPEED, default_text="one for each core", owner=TRAINED
    )

    def complete(self, preset: Preset) -> FitPlan:
        """The plan: these settings, and the preset's values where nothing was given."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        given = {name: value for name, value in given.items() if value is not None}
        unlimited = {"most_steps": None} if self.epochs is not None else {}
        return FitPlan(**{**preset.of(FitConfig), **unlimited, **given})

    def problems(self) -> list[str]:
        """What is wrong with the settings, one text each."""
        problems = [
            f"{name} must be at least 1, found {value}"
            for name, value in (
                ("batch size", self.batch_size), ("epochs", self.epochs), ("steps", self.steps),
                ("validate-every", self.validate_every), ("stack", self.stack), ("workers", self.workers),
                ("gradient-cache", self.gradient_cache),
            )
            if value is not None and value < 1
        ]  # fmt: skip
        for what, value, known in (
            ("selection rule", self.select, SELECTORS), ("dropout", self.dropout, DROPOUTS),
            ("device", self.device, DEVICES), ("precision", self.precision, PRECISIONS),
            ("layout", self.layout, LAYOUTS), ("image loss", self.image_loss, tuple(IMAGE_LOSSES)),
            ("logit scale", self.logit_scale, LOGIT_SCALES),
        ):  # fmt: skip
            if value is not None and value not in known:
                problems.append(unknown(what, value, known))
        if self.batch_size == 1:
            problems.append("batch size 1 leaves a contrastive loss nothing to tell apart: expected at least 2")
        if self.image_loss in BIASED and self.logit_scale not in (None, MODEL_SCALE):
            problems.append(
                f"--image-loss {self.image_loss} takes scale and bias of the model: expected --logit-scale "
                f"{MODEL_SCALE} or none, found {self.logit_scale}"
            )
        return problems

    @property
    def takes_model_scale(self) -> bool:
        """Whether the image-text loss takes the model's own scale."""
        return self.logit_scale == MODEL_SCALE or self.image_loss in BIASED


@dataclass(frozen=True)
class FitPlan(FitConfig):
    """How every run is trained, every default filled in; the training room takes it."""

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
        steps = self.epochs * per_epoch
        return self.steps or min(steps, self.most_steps or steps)

    def interval(self, steps: int) -> int:
        """Steps between validations of a run of `steps` steps."""
        return self.validate_every or max(20, steps // 50)
