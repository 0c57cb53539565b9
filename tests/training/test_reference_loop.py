"""fit learns what tests/bench/reference.py learns, dropout aside, as do quicker loops."""

from __future__ import annotations

import pytest
import torch

from tests import towers
from tests.bench.reference import Examples, Flags, Learned, ReferenceLoop
from tests.bench.setting import Setting, Size, drawn_lengths, image_tower, text_tower
from xpet.core.config import FitPlan, MethodConfig, RunConfig
from xpet.methods.build import build_stack
from xpet.models.tokenizer import TextTokenizer
from xpet.training.batches import batch_order
from xpet.training.device import make_engine
from xpet.training.fit import fit
from xpet.training.queue import RunData
from xpet.training.selection import TrainedRun

STEPS, ROWS, VALIDATION = 12, 10, 6
VISION = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 16,
          "image_size": 16, "patch_size": 8}  # fmt: skip
SIZE = Size(64, 2, 2, 66, VISION, 16)
RUN = RunConfig("de", "routine1", "mse", align_weight=0.5, learning_rate=2e-3, seed=3)
FIT = FitPlan(
    batch_size=4, steps=STEPS, validate_every=5, select="r1", latest_tie_wins=True, include_start=False, device="cpu"
)
FLAT = "self.key.bias"  # its gradient is zero but for rounding, which Adam amplifies


@pytest.fixture(scope="module")
def setting() -> Setting:
    made = Setting(SIZE, ROWS, VALIDATION, "cpu", drawn_lengths)
    made.pixels = made.pixels.double()
    return made


def by_reference(setting: Setting, method: MethodConfig, flags: Flags) -> Learned:
    loop = ReferenceLoop(
        text_tower(SIZE, dtype=torch.float64),
        image_tower(SIZE, dtype=torch.float64),
        setting.tokens,
        method,
        RUN,
        flags,
    )
    target, pivot = setting.texts("de", "target"), setting.texts("de", "pivot")
    train = Examples(target[:ROWS], pivot[:ROWS], setting.pixels[:ROWS])
    check = Examples(target[ROWS:], None, setting.pixels[ROWS:])
    order = list(batch_order(ROWS, FIT.batch_size, STEPS, RUN.seed))
    return loop.train(train, check, order, STEPS)


def by_xpet(setting: Setting, method: MethodConfig) -> TrainedRun:
    tokenizer = TextTokenizer(setting.tokenizer, SIZE.positions - 2, 1)
    with torch.no_grad():
        images = image_tower(SIZE, dtype=torch.float64)(pixel_values=setting.pixels).image_embeds
    target, pivot = (tokenizer.encode(setting.texts("de", slot)) for slot in ("target", "pivot"))
    data = RunData(
        target[:ROWS], pivot[:ROWS], images[:ROWS], target[ROWS:], images[ROWS:],
        torch.arange(VALIDATION),
    )  # fmt: skip
    stack = build_stack(text_tower(SIZE, dtype=torch.float64), method, [RUN.seed])
    return fit(stack, [(RUN, data)], FIT, tokenizer.pad, make_engine("cpu"))[0]


@pytest.mark.parametrize("name", ["lora", "adapter", "compacter"])
def test_fit_learns_what_the_reference_loop_learns(setting: Setting, name: str) -> None:
    method = towers.METHOD_CONFIGS[name]
    learned, outcome = by_reference(setting, method, Flags(dropout=False)), by_xpet(setting, method)
    assert outcome.chosen_step == learned.chosen_step
    (chosen,) = (entry for entry in outcome.history if entry["step"] == outcome.chosen_step)
    assert chosen["val_r1"] == pytest.approx(100 * learned.score, abs=0.01)
    assert set(outcome.state) == set(learned.state)
    for key, value in learned.state.items():
        tolerance = 1e-7 if key.endswith(FLAT) else 1e-10
        torch.testing.assert_close(outcome.state[key], value, atol=tolerance, rtol=0)


def test_quicker_variants_learn_the_same_and_dropout_does_not(setting: Setting) -> None:
    method = towers.METHOD_CONFIGS["lora"]
    plain = by_reference(setting, method, Flags(dropout=False))
    quick = by_reference(setting, method, Flags(False, False, False, False))
    dropped = by_reference(setting, method, Flags())
    torch.testing.assert_close(torch.tensor(quick.losses), torch.tensor(plain.losses), atol=1e-10, rtol=0)
    assert abs(dropped.losses[-1] - plain.losses[-1]) > 1e-3
    assert len(plain.seconds) == STEPS
