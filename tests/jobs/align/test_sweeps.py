"""Sweeps: what is chosen and by what, stack sizes, runs that diverge."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.jobs.conftest import FIT, World
from xpet.cli import align_view
from xpet.cli.view import Paragraph
from xpet.core.errors import TrainingError
from xpet.core.events import Event, Notice
from xpet.core.run_record import RunResult
from xpet.core.rundir import FILES, read_run
from xpet.jobs.align import run as align
from xpet.jobs.results.align import AlignResult
from xpet.jobs.shared.best_setting import choose_setting

Tree = Callable[[Path], dict[str, bytes]]
LONGER = replace(FIT, steps=8, validate_every=2)


@pytest.mark.parametrize(
    ("select", "figure", "sign"), [("mrr", "val_mrr", 1), ("r1", "val_r1", 1), ("loss", "val_loss", -1)]
)
def test_the_best_setting_is_chosen_on_validation_only(
    select: str, figure: str, sign: int, world: World, tmp_path: Path
) -> None:
    def rounded(score: float) -> float:
        return round(score / 100, 4) if select == "r1" else score  # the reference rounds R@1

    config = world.config(
        tmp_path / "out", "de", "tr", routines=("1", "3"), learning_rates=(1e-4, 3e-3), seeds=(1, 2),
        fit=replace(LONGER, select=select),
    )  # fmt: skip
    result = align.run(config)
    assert len(result.runs) == 16
    for chosen in result.languages:
        scores: dict[tuple, list[float]] = {}
        for run in (r for r in result.runs if r.language == chosen.language):
            record = read_run(Path(run.folder))
            best = max(record.history, key=lambda e: rounded(sign * e[figure]))  # the earlier one wins ties
            assert run.chosen_step == best["step"]
            assert run.validation[figure] == best[figure]
            scores.setdefault(run.setting, []).append(sign * best[figure])
        best_setting = max(scores, key=lambda s: statistics.fmean(scores[s]))
        assert (chosen.routine, chosen.loss, chosen.align_weight, chosen.learning_rate) == best_setting
        mine = [r for r in result.runs if r.language == chosen.language and r.setting == best_setting]
        assert chosen.seeds == (1, 2)
        assert chosen.aligned == pytest.approx(statistics.fmean(r.aligned for r in mine))
        assert chosen.aligned_std == pytest.approx(statistics.pstdev(r.aligned for r in mine))
        assert chosen.gain == pytest.approx(chosen.aligned - chosen.target_before)
        assert chosen.folder in {r.folder for r in mine}


def test_the_test_split_has_no_say() -> None:
    """The setting with the better test figure loses to the one with the better validation."""
    shared = {
        "language": "de", "routine": "routine3", "loss": "mse", "align_weight": 0.1, "seed": 1, "status": "ok",
        "chosen_step": 2, "target_before": 10.0, "translated_before": 20.0, "english_before": None,
        "english_after": None, "seconds": 1.0,
    }  # fmt: skip
    good = RunResult(**shared, learning_rate=1e-3, validation={"val_mrr": 60.0}, aligned=30.0, folder="good")  # type: ignore[arg-type]
    lucky = RunResult(**shared, learning_rate=1e-4, validation={"val_mrr": 59.9}, aligned=99.0, folder="lucky")  # type: ignore[arg-type]
    blind = RunResult(**shared, learning_rate=1e-5, validation={}, aligned=99.0, folder="blind")  # type: ignore[arg-type]
    for runs in ((good, lucky, blind), (blind, lucky, good)):
        assert choose_setting(runs, "mrr")[0].folder == "good"
    lost = [replace(r, validation={"val_loss": 1.0}) if r.validation else r for r in (blind, good)]
    assert choose_setting(lost, "loss")[0].folder == "good"  # no validation is no perfect validation


def results(world: World, out: Path, stack: int | None, dropout: str = "off", **changes: Any) -> AlignResult:
    return align.run(world.config(out, "de", fit=replace(LONGER, stack=stack, dropout=dropout), **changes))


@pytest.mark.parametrize(("method", "dropout"), [("lora", "model"), ("compacter", "off")])
def test_stack_size_does_not_change_results(method: str, dropout: str, world: World, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"method": method, "routines": ("baseline-target", "3"), "learning_rates": (1e-3, 2e-4)}
    alone, together = (results(world, tmp_path / str(size), size, dropout, **changes) for size in (1, None))
    assert len(alone.runs) == len(together.runs) == 4
    by_label = {Path(r.folder).name: r for r in alone.runs}
    for run in together.runs:
        other = by_label[Path(run.folder).name]
        assert run.chosen_step == other.chosen_step
        assert dict(run.validation) == pytest.approx(dict(other.validation), abs=1e-4, rel=1e-4)
        assert run.aligned == pytest.approx(other.aligned, abs=1e-4)
        mine, theirs = (read_run(Path(r.folder)).delta for r in (run, other))
        assert all((mine[name] - theirs[name]).abs().max() < 1e-4 for name in mine)


@pytest.mark.parametrize("stack", [None, 1])
def test_a_diverging_run_leaves_the_others_alone(stack: int | None, world: World, tmp_path: Path, tree: Tree) -> None:
    fit = replace(FIT, stack=stack)
    events: list[Event] = []
    result = align.run(world.config(tmp_path / "out", "de", "tr", learning_rates=(1e-3, 1e38), fit=fit), events.append)
    labels = [f"{lang}-routine3-mse-w0.1-lr1e+38-seed1" for lang in ("de", "tr")]
    assert sorted(result.failed) == labels
    assert [(r.language, r.learning_rate, r.status) for r in result.runs] == [("de", 1e-3, "ok"), ("tr", 1e-3, "ok")]
    assert sorted(e.text.split()[1] for e in events if isinstance(e, Notice)) == labels
    kept = [Path(r.folder).name for r in result.runs]
    assert set(tree(tmp_path)) == {"out/summary.json"} | {f"out/{name}/{file}" for name in kept for file in FILES}
    assert json.loads((tmp_path / "out" / "summary.json").read_text("utf-8"))["failed"] == list(result.failed)
    healthy = align.run(world.config(tmp_path / "healthy", "de", "tr", fit=fit))
    for run, other in zip(result.runs, healthy.runs, strict=True):
        assert dict(run.validation) == pytest.approx(dict(other.validation), abs=1e-4, rel=1e-4)
        assert run.aligned == pytest.approx(other.aligned, abs=1e-4)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_when_all_diverge_there_is_no_folder(method: str, world: World, tmp_path: Path) -> None:
    config = world.config(tmp_path / "out", "de", method=method, learning_rates=(1e38, 2e38))
    with pytest.raises(TrainingError, match="^all 2 runs diverged: the loss was not finite; try a lower --lr"):
        align.run(config)
    assert list(tmp_path.iterdir()) == []


def test_one_survivor_of_a_sweep_is_still_a_sweep(world: World, tmp_path: Path, tree: Tree) -> None:
    result = align.run(world.config(tmp_path / "out", method="full", learning_rates=(1e38, 1e-4)))
    (run,) = result.runs
    assert Path(run.folder).parent == tmp_path / "out"
    assert set(tree(tmp_path / "out")) == {"summary.json"} | {f"{Path(run.folder).name}/{file}" for file in FILES}


def test_disparity_is_averaged_over_seeds(world: World, tmp_path: Path) -> None:
    result = align.run(world.config(tmp_path / "out", "all", seeds=(1, 2, 3)))
    assert result.compared == ("en", "de", "tr")
    assert result.before is not None
    assert result.after is not None
    english = result.english_before
    assert english is not None
    aligned = {(r.language, r.seed): r.aligned for r in result.runs}
    tables = [[english, aligned["de", seed], aligned["tr", seed]] for seed in (1, 2, 3)]
    assert result.after.mean == pytest.approx(statistics.fmean(map(statistics.fmean, tables)))
    assert result.after.range == pytest.approx(statistics.fmean(max(t) - min(t) for t in tables))
    assert result.after.std == pytest.approx(statistics.fmean(map(statistics.pstdev, tables)))
    assert result.after.mean_gap == pytest.approx(statistics.fmean(t[0] - (t[1] + t[2]) / 2 for t in tables))
    before = [english, *(r.target_before for r in result.languages)]
    assert result.before.range == pytest.approx(max(before) - min(before))


@pytest.mark.parametrize(("select", "words"), [("loss", "MRR"), ("mrr", "MRR"), ("r1", "R@1")])
def test_a_sweep_says_by_what_its_settings_were_chosen(world: World, tmp_path: Path, select: str, words: str) -> None:
    fit = replace(FIT, select=select)
    result = align.run(world.config(tmp_path / "sweep", fit=fit, learning_rates=(1e-3, 1e-4)))
    assert result.chosen_by == result.to_dict()["chosen_by"] == words
    told = [block.text for block in align_view.summary(result) if isinstance(block, Paragraph)]
    assert [text.partition(":")[0] for text in told if "Chosen" in text] == [f"Chosen by {words} on validation"]
