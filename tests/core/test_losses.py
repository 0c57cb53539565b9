"""The numeric oracle: every routine x loss against formulas written with loops (paper section 3.2; tests/naive.py)."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests import naive, towers
from xpet.core.config import FitPlan, RunConfig
from xpet.core.errors import ConfigError
from xpet.core.losses import ALIGNMENT_LOSSES, IMAGE_LOSSES, ImageLoss, contrastive, find_loss
from xpet.core.routines import ROUTINES, find_routine
from xpet.methods.build import build_stack
from xpet.methods.stack import Stack
from xpet.training.device import make_engine
from xpet.training.fit import fit
from xpet.training.queue import RunData
from xpet.training.selection import TrainedRun

STEPS, ROWS, BATCH = 12, 9, 4
FIT = FitPlan(batch_size=BATCH, steps=STEPS, validate_every=1, include_start=False)
METHOD = towers.METHOD_CONFIGS["lora"]
PAPER_ROUTINES = {  # paper, section 3.2: image loss on, alignment loss with, validation and test on
    "baseline-target": ("target", None, "target"),
    "baseline-translated": ("to_pivot", None, "to_pivot"),
    "routine1": ("target", "pivot", "target"),
    "routine2": ("target", "from_pivot", "target"),
    "routine3": ("to_pivot", "pivot", "to_pivot"),
}
SLOT_TEXTS = {slot: towers.texts(ROWS, seed) for seed, slot in enumerate(("pivot", "target", "from_pivot", "to_pivot"))}
LOSSES = ("mse", "mse-normalized", "contrastive", "contrastive-image", "cosine")
ALIGNED = [
    RunConfig("de", routine, loss, align_weight=0.3 + 0.1 * place, learning_rate=2e-3, seed=place + 1)
    for place, (routine, loss) in enumerate((r, n) for r in ("routine1", "routine2", "routine3") for n in LOSSES)
]
BASELINES = [RunConfig("de", name, "mse", align_weight=5.0, learning_rate=2e-3, seed=7) for name in
             ("baseline-target", "baseline-translated")]  # fmt: skip
EVERY = ALIGNED + BASELINES
EVERY_RUN = pytest.mark.parametrize("run", EVERY, ids=[f"{r.routine}-{r.loss}" for r in EVERY])
EVERY_LOSS = pytest.mark.parametrize("name", LOSSES)


def data_of(student: str, anchor: str | None, evaluation: str) -> RunData:
    """One run's data, given the text slots it reads."""
    generator = torch.Generator().manual_seed(5)
    image = torch.randn(ROWS, towers.DIMENSIONS, generator=generator, dtype=torch.float64)
    return RunData(
        student=SLOT_TEXTS[student], anchor=SLOT_TEXTS[anchor] if anchor else None, image=image,
        val_text=SLOT_TEXTS[evaluation][:2], val_image=image[:2], val_image_index=torch.arange(2),
    )  # fmt: skip


def by_xpet(steps: int) -> list[tuple[TrainedRun, dict[str, Tensor]]]:
    """Trained run and the last step's gradients of every run, the runs of a shape trained side by side."""
    results: list[tuple[TrainedRun, dict[str, Tensor]]] = []
    for runs in (ALIGNED, BASELINES):
        rows = [find_routine(run.routine) for run in runs]
        data = [data_of(row.student, row.anchor, row.evaluation) for row in rows]
        stack: Stack = build_stack(towers.tower(), METHOD, [run.seed for run in runs])
        if steps == 1:
            shake(list(stack.values.values()))
        pairs = list(zip(runs, data, strict=True))
        outcomes = fit(stack, pairs, replace(FIT, steps=steps), towers.pad, make_engine("cpu"))
        for place, outcome in enumerate(outcomes):
            found = {name: gradient[place] for name, gradient in stack.gradients_by_name().items()}
            results.append((outcome, found))
    return results


def shake(values: list[Tensor]) -> None:
    """LoRA's B starts at zero, which hides the gradient of A: give every parameter a value."""
    with torch.no_grad():
        for value in values:
            value.add_(0.05)


def by_hand(run: RunConfig, steps: int) -> tuple[list[float], dict[str, Tensor]]:
    """Losses of every step and the last step's gradients by plain OpenDelta, torch's Adam and loops."""
    model = towers.tower()
    parameters = towers.plain_delta(model, METHOD, run.seed)
    if steps == 1:
        shake(list(parameters.values()))
    values = towers.plain_training(
        model, list(parameters.values()), run, data_of(*PAPER_ROUTINES[run.routine]), replace(FIT, steps=steps),
        lambda image, anchor, student: naive.total(run.loss, run.align_weight, image, anchor, student),
    )  # fmt: skip
    return values, {name: p.grad for name, p in parameters.items() if p.grad is not None}


@pytest.fixture(scope="module")
def trained() -> dict[str, tuple[TrainedRun, dict[str, Tensor]]]:
    return {run.label: result for run, result in zip(EVERY, by_xpet(STEPS), strict=True)}


@pytest.fixture(scope="module")
def stepped() -> dict[str, tuple[TrainedRun, dict[str, Tensor]]]:
    return {run.label: result for run, result in zip(EVERY, by_xpet(1), strict=True)}


def test_the_oracle_covers_the_whole_table() -> None:
    with_pictures = {n: (r.student, r.anchor, r.evaluation) for n, r in ROUTINES.items() if not r.text_only}
    assert with_pictures == PAPER_ROUTINES
    text = ROUTINES["text"]  # xpet's own: no image loss, from_pivot against the frozen pivot, searched with target
    assert (text.student, text.anchor, text.evaluation, text.text_only) == ("from_pivot", "pivot", "target", True)
    assert text.slots == ("target",)
    assert tuple(ALIGNMENT_LOSSES) == LOSSES
    assert {name: find_routine(name).name for name in "123"} == {str(i): f"routine{i}" for i in (1, 2, 3)}
    assert [name for name in ROUTINES if find_routine(name).translates_queries] == ["baseline-translated", "routine3"]


@EVERY_RUN
def test_losses_over_12_steps(run: RunConfig, trained: dict[str, tuple[TrainedRun, dict[str, Tensor]]]) -> None:
    expected, _ = by_hand(run, STEPS)
    history = trained[run.label][0].history
    assert [entry["step"] for entry in history] == list(range(1, STEPS + 1))
    assert [entry["loss"] for entry in history] == pytest.approx(expected, abs=1e-8, rel=0)
    for entry in history:
        aligned = entry["loss_align"] if run in ALIGNED else 0.0
        assert entry["loss"] == pytest.approx(entry["loss_clip"] + run.align_weight * aligned, abs=1e-10)
    assert run in ALIGNED or all(entry["loss_align"] == 0 for entry in history)
    assert max(expected) - min(expected) > 1.0  # the comparison is not one of constants


@EVERY_RUN
def test_gradients_of_the_first_step(run: RunConfig, stepped: dict[str, tuple[TrainedRun, dict[str, Tensor]]]) -> None:
    _, expected = by_hand(run, 1)
    found = stepped[run.label][1]
    assert set(found) == set(expected)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-8, rtol=0)
        assert gradient.abs().max() > 1e-6


def features(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, 6, generator=generator, dtype=torch.float64)


def triple(*shape: int) -> list[Tensor]:
    """Image, anchor and student features that ask for gradients."""
    return [features(*shape, seed=seed).requires_grad_() for seed in (1, 2, 3)]


def gradients(value: Tensor, inputs: list[Tensor]) -> list[Tensor | None]:
    return list(torch.autograd.grad(value, inputs, allow_unused=True))


@EVERY_LOSS
def test_alignment_losses_equal_the_formulas(name: str) -> None:
    inputs = triple(4)
    found, expected = find_loss(name)(*inputs), naive.alignment(name, *inputs)
    assert found.item() == pytest.approx(expected.item(), abs=1e-10)
    for mine, theirs in zip(gradients(found, inputs), gradients(expected, inputs), strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None and theirs is not None:
            torch.testing.assert_close(mine, theirs, atol=1e-9, rtol=0)


def test_contrastive_equals_cross_entropy_and_the_loops() -> None:
    image, _, student = triple(4)
    logits = 100 * torch.nn.functional.normalize(image, dim=1) @ torch.nn.functional.normalize(student, dim=1).T
    entropy = torch.nn.functional.cross_entropy
    both = (entropy(logits, torch.arange(4)) + entropy(logits.T, torch.arange(4))) / 2
    assert contrastive(image, student).item() == pytest.approx(both.item(), abs=1e-10)
    assert naive.cross_entropies(image, student).item() == pytest.approx(both.item(), abs=1e-10)
    assert contrastive(image, student).item() == pytest.approx(contrastive(student, image).item(), abs=1e-10)


@pytest.mark.parametrize("loss", [ImageLoss("sigmoid", 7.0, -3.0), ImageLoss("softmax", 7.0, -3.0)])
def test_image_losses_equal_the_formulas_and_their_gradients(loss: ImageLoss) -> None:
    image, _, text = triple(2, 4)
    found = loss(image, text)
    assert found.shape == (2,)
    for run in range(2):
        if loss.name == "sigmoid":
            expected = naive.pairwise(image[run], text[run], 7.0, -3.0)
        else:
            cosines = torch.nn.functional.cosine_similarity(image[run].unsqueeze(1), text[run].unsqueeze(0), dim=2)
            logits, own, entropy = 7 * cosines, torch.arange(4), torch.nn.functional.cross_entropy
            expected = (entropy(logits, own) + entropy(logits.T, own)) / 2
        assert found[run].item() == pytest.approx(expected.item(), abs=1e-10)
    assert torch.autograd.gradcheck(loss, (image, text))


def test_the_sigmoid_loss_of_a_hand_computed_case_and_of_large_logits() -> None:
    rows = torch.eye(2, dtype=torch.float64)
    softplus = math.log1p(math.exp(-1)), math.log1p(math.exp(-4))  # pairs have logit 5 - 4, others -4
    assert ImageLoss("sigmoid", 5.0, -4.0)(rows, rows).item() == pytest.approx(softplus[0] + softplus[1], abs=1e-12)
    for scale in (1e4, -1e4):
        assert ImageLoss("sigmoid", scale, -10.0)(rows.float(), rows.float()).isfinite()
    assert ImageLoss("sigmoid", -1e4, 0.0)(rows, rows).item() == pytest.approx(1e4 + math.log(2), abs=1e-8)


def test_the_default_image_loss_is_the_papers() -> None:
    image, _, text = triple(2, 4)
    assert torch.equal(ImageLoss()(image, text), contrastive(image, text))
    assert tuple(IMAGE_LOSSES) == ("softmax", "sigmoid")


def test_training_with_the_sigmoid_loss_equals_the_loops() -> None:
    run, loss = ALIGNED[0], ImageLoss("sigmoid", 7.0, -3.0)
    data, plan = data_of(*PAPER_ROUTINES[run.routine]), replace(FIT, steps=4)
    stack = build_stack(towers.tower(), METHOD, [run.seed])
    (found,) = fit(stack, [(run, data)], plan, towers.pad, make_engine("cpu"), image_loss=loss)
    model = towers.tower()
    expected = towers.plain_training(
        model, list(towers.plain_delta(model, METHOD, run.seed).values()), run, data, plan,
        lambda image, anchor, student: naive.total(
            run.loss, run.align_weight, image, anchor, student, naive.pairwise(image, student, 7.0, -3.0)
        ),
    )  # fmt: skip
    assert [entry["loss"] for entry in found.history] == pytest.approx(expected, abs=1e-8, rel=0)


def test_losses_of_a_hand_computed_case() -> None:
    image = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    anchor = torch.tensor([[2.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    student = torch.tensor([[1.0, 0.0], [3.0, 0.0]], dtype=torch.float64)
    expected = {
        "mse": (1 + 9 + 4) / 4,
        "mse-normalized": (1 + 9 + 4) / 4 / 2,
        "cosine": 0.5,
        # student rows are equal: forth is log 2 and log 2, back is log(1 + e^-100) and 100 + log(1 + e^-100)
        "contrastive": (math.log(2) + 50) / 2,
        "contrastive-image": 0.0,
    }
    for name, value in expected.items():
        assert find_loss(name)(image, anchor, student).item() == pytest.approx(value, abs=1e-12)


@EVERY_LOSS
@pytest.mark.parametrize("shape", [(3,), (2, 3)], ids=["one", "runs"])
def test_gradcheck(name: str, shape: tuple[int, ...]) -> None:
    # contrastive logits are scaled by 100: features apart by little keep finite differences accurate
    near = features(*shape, seed=4)
    inputs = [(near + 0.1 * features(*shape, seed=seed)).requires_grad_() for seed in (1, 2, 3)]
    assert torch.autograd.gradcheck(contrastive, (inputs[0], inputs[2]))
    if name != "mse-normalized":  # its denominator is detached on purpose
        assert torch.autograd.gradcheck(find_loss(name), inputs)
        return
    image, anchor, student = inputs
    assert torch.autograd.gradcheck(lambda s: find_loss(name)(image.detach(), anchor.detach(), s), (student,))


@EVERY_LOSS
def test_leading_dimensions_are_independent_runs(name: str) -> None:
    image, anchor, student = triple(2, 3, 4)
    loss = find_loss(name)(image, anchor, student)
    assert loss.shape == contrastive(image, student).shape == (2, 3)
    for i in range(2):
        for j in range(3):
            alone = find_loss(name)(image[i, j], anchor[i, j], student[i, j])
            assert alone.shape == ()
            assert loss[i, j].item() == pytest.approx(alone.item(), abs=1e-12)
            assert contrastive(image, student)[i, j].item() == pytest.approx(
                contrastive(image[i, j], student[i, j]).item(), abs=1e-12
            )
    (reached,) = torch.autograd.grad(loss[1, 2], anchor)
    assert reached[1, 2].abs().max() > 0
    reached[1, 2] = 0
    assert not reached.any()


def test_gradient_flows_where_the_paper_says() -> None:
    reached = {}
    for name in LOSSES:
        inputs = triple(4)
        found = gradients(find_loss(name)(*inputs), inputs)
        reached[name] = tuple(g is not None and bool(g.abs().max() > 0) for g in found)
    both_texts, image_and_anchor = (False, True, True), (True, True, False)
    assert reached == {n: image_and_anchor if n == "contrastive-image" else both_texts for n in LOSSES}
    image, anchor, student = triple(4)
    one, other = torch.autograd.grad(find_loss("mse")(image, anchor, student), (anchor, student))
    assert torch.equal(one, -other)
    torch.testing.assert_close(other, 2 * (student - anchor).detach() / student.numel(), atol=1e-12, rtol=0)


def test_only_mse_depends_on_the_feature_scale() -> None:
    image, anchor, student = (t.detach() for t in triple(4))
    for name in LOSSES:
        small = find_loss(name)(image, 1e-3 * anchor, 1e-3 * student).item()
        large = find_loss(name)(image, anchor, student).item()
        assert small == pytest.approx(large * (1e-6 if name == "mse" else 1.0), rel=1e-9)
    normalized = find_loss("mse-normalized")
    assert normalized(image, anchor, torch.zeros_like(anchor)).item() == pytest.approx(1.0, abs=1e-12)
    assert normalized(image, anchor, anchor).item() == 0


def test_a_batch_of_one_has_no_contrastive_loss_and_no_gradient() -> None:
    for name in ("contrastive", "contrastive-image"):
        inputs = triple(1)
        loss = find_loss(name)(*inputs)
        assert loss.item() == 0
        assert all(g is None or not g.any() for g in gradients(loss, inputs))
    assert contrastive(features(1), features(1, seed=1)).item() == 0


def test_unknown_loss_lists_the_known() -> None:
    with pytest.raises(ConfigError) as error:
        find_loss("cosin")
    assert str(error.value) == (
        "unknown loss 'cosin': expected one of mse, mse-normalized, contrastive, contrastive-image, cosine; "
        "did you mean 'cosine'?"
    )
