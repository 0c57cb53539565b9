"""`xpet align` as a job: every method and routine, exact files, determinism, overwriting, interruption."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.jobs.conftest import FIT, SHOTS, World, rows_of, shown, write_table
from tests.rounding import alike_runs
from xpet.core import rundir
from xpet.core.choices import FITTED_METHODS, METHOD_NAMES
from xpet.core.config import MethodConfig
from xpet.core.errors import OutputError, TrainingError
from xpet.core.events import Event, Notice, Progress
from xpet.core.presets import PRESETS
from xpet.core.routines import ROUTINES
from xpet.core.run_record import SplitNames
from xpet.core.rundir import FILES, read_run
from xpet.jobs.align import run as align
from xpet.jobs.eval import run as evaluate
from xpet.jobs.results.align import AlignResult
from xpet.jobs.results.report import Report

Tree = Callable[[Path], dict[str, bytes]]
PAPER = PRESETS["paper"]
REFERENCE = replace(
    FIT, dropout=PAPER.dropout, select=PAPER.select, latest_tie_wins=PAPER.latest_tie_wins,
    include_start=PAPER.include_start,
)  # fmt: skip


def files_of(runs: AlignResult, root: Path) -> set[str]:
    """What a sweep into `root` writes: the runs and the summary."""
    folders = [Path(r.folder).relative_to(root).as_posix() for r in runs.runs]
    return {"summary.json"} | {f"{folder}/{name}" for folder in folders for name in FILES}


@pytest.mark.parametrize("method", [name for name in METHOD_NAMES if name not in FITTED_METHODS])
def test_every_method_and_routine(method: str, world: World, tmp_path: Path, tree: Tree, cache: Path) -> None:
    out = tmp_path / "sweep"
    routines = tuple(name for name, routine in ROUTINES.items() if not routine.text_only)
    result = align.run(world.config(out, "de", method=method, routines=routines))
    assert len(result.runs) == len(routines) == 5
    assert (result.failed, result.folder, result.compared) == ((), str(out), ("en", "de"))
    assert set(tree(out)) == files_of(result, out)
    assert {p.name for p in tmp_path.iterdir()} == {"sweep"}
    assert not cache.exists()
    assert json.loads((out / "summary.json").read_text("utf-8")) == json.loads(json.dumps(result.to_dict()))
    for run in result.runs:
        record = read_run(Path(run.folder))
        assert [entry["step"] for entry in record.history] == [0, 2, 4]
        assert sum(value.numel() for value in record.delta.values()) == result.trainable > 0
        assert record.metrics.aligned == run.aligned
        assert {part: len(names) for part, names in vars(record.split).items()} == {
            "train": SHOTS, "validation": SHOTS, "test": 60 - 2 * SHOTS,
        }  # fmt: skip
    for run in result.runs:  # eval measures again what align wrote
        found = evaluate.run(world.evaluation(run.folder, languages=("de",)))
        assert isinstance(found, Report)
        (score,) = shown(found)
        assert score.after == pytest.approx(run.aligned, abs=1e-6)
        assert score.before == pytest.approx(run.target_before, abs=1e-6)
        assert found.systems[-1].text == ROUTINES[run.routine].evaluation


def test_training_learns_and_a_run_explains_itself(world: World, tmp_path: Path, tree: Tree) -> None:
    events: list[Event] = []
    fit = replace(FIT, steps=30, validate_every=10)
    result = align.run(world.config(tmp_path / "deep" / "run", fit=fit), events.append)
    (run,) = result.runs
    record = read_run(Path(run.folder))
    assert set(tree(tmp_path / "deep")) == {f"run/{name}" for name in FILES}
    assert record.history[-1]["loss"] < 0.7 * record.history[1]["loss"]
    assert record.history[-1]["val_mrr"] > record.history[0]["val_mrr"] + 5
    assert run.aligned > run.target_before
    assert record.run.language == "de"
    assert record.data.root == str(world.table)
    assert record.environment.data.keys() == {"table.jsonl"}
    assert record.metrics.synthetic is False
    assert "note" not in result.to_dict()
    stages = {e.stage for e in events if isinstance(e, Progress)}
    assert stages == {"zero-shot", "training"}
    english = evaluate.run(world.evaluation(run.folder, languages=("en", "tr")))
    assert [(s.language, s.after) for s in shown(english)] == [("en", None), ("tr", None)]
    assert shown(english)[0].before == pytest.approx(run.english_before, abs=1e-6)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_same_seed_gives_the_same_numbers(method: str, world: World, tmp_path: Path) -> None:
    configs = [world.config(tmp_path / name, method=method, routines=("1", "3"), seeds=(1, 2)) for name in "ab"]
    one, two = (align.run(config) for config in configs)
    for a, b in zip(one.runs, two.runs, strict=True):
        assert (a.routine, a.seed) == (b.routine, b.seed)
        alike_runs(Path(a.folder), Path(b.folder))
    deltas = {(Path(r.folder) / "history.jsonl").read_bytes() for r in one.runs}
    assert len(deltas) == 4  # seeds and routines differ


def test_without_a_folder_every_command_gets_its_own_in_the_cache(world: World, cache: Path) -> None:
    folders = [Path(align.run(world.config(None, "de")).folder) for _ in range(2)]
    assert folders[0] != folders[1]
    assert all(f.parent == cache / "runs" and re.fullmatch(r"de-lora-\d{8}-\d{6}-[0-9a-f]{4}", f.name) for f in folders)
    assert set((cache / "runs").iterdir()) == set(folders)


@pytest.mark.parametrize("sweep", [False, True])
def test_a_taken_folder_is_only_replaced_when_told(sweep: bool, world: World, tmp_path: Path, tree: Tree) -> None:
    out = tmp_path / "out"
    align.run(world.config(out, "de", seeds=(1, 2) if sweep else (1,)))
    before = tree(tmp_path)
    with pytest.raises(OutputError, match="exists already; choose another --out or pass --overwrite$"):
        align.run(world.config(out, "tr"))
    assert tree(tmp_path) == before
    for seeds in ((1,), (3, 4), (1,)):  # run over either, sweep over run, run over sweep
        result = align.run(world.config(out, "tr", overwrite=True, seeds=seeds))
        single = len(result.runs) == 1
        assert set(tree(tmp_path)) == {f"out/{f}" for f in (FILES if single else files_of(result, out))}


def test_a_foreign_folder_is_never_replaced(world: World, tmp_path: Path, tree: Tree) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match="is no xpet run or sweep"):
        align.run(world.config(tmp_path / "out", overwrite=True))
    assert tree(tmp_path) == {"out/thesis.tex": b"years of work"}


@pytest.mark.parametrize("rates", [(1e38,), (1e38, 2e38)])
def test_an_overwrite_that_diverges_keeps_the_old(
    rates: tuple[float, ...], world: World, tmp_path: Path, tree: Tree
) -> None:
    out = tmp_path / "out"
    align.run(world.config(out))
    before = tree(tmp_path)
    with pytest.raises(TrainingError, match=rf"^all {len(rates)} runs diverged: the loss was not finite"):
        align.run(world.config(out, overwrite=True, learning_rates=rates))
    assert tree(tmp_path) == before


@pytest.mark.parametrize("seeds", [(5,), (5, 6)])
def test_an_overwrite_on_a_full_disk_keeps_the_old(
    seeds: tuple[int, ...], world: World, tmp_path: Path, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    align.run(world.config(out, seeds=(1, 2)))
    before = tree(tmp_path)

    def refuse(path: Path, value: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rundir, "_write_json", refuse)
    with pytest.raises(
        OutputError, match="^cannot write the run .*: No space left on device; free space or choose another place$"
    ):
        align.run(world.config(out, overwrite=True, seeds=seeds))
    assert {name: content for name, content in tree(tmp_path).items() if not name.startswith(UNFINISHED)} == before


UNFINISHED = "out.unfinished/"


def left(seeds: Sequence[int], *names: str) -> set[str]:
    """Files of a command that was stopped while it trained: its plan, checkpoints, and histories of these seeds."""
    checkpoints = {f"checkpoints/{name}.safetensors" for name in names}
    histories = {f"history/de-routine3-mse-w0.1-lr0.001-seed{seed}.jsonl" for seed in seeds}
    return {UNFINISHED + name for name in ("sweep.json", ".sweep.lock", *checkpoints, *histories)}


def interrupt_at(stage: str, nth: int) -> Callable[[Event], None]:
    seen = []

    def on_event(event: Event) -> None:
        if isinstance(event, Progress) and event.stage == stage:
            seen.append(event)
            if len(seen) == nth:
                raise KeyboardInterrupt

    return on_event


@pytest.mark.parametrize(("stage", "files"), [("zero-shot", set()), ("training", left([1], "run-0000"))])
def test_an_interrupted_run_leaves_no_part_of_it(
    stage: str, files: set[str], world: World, tmp_path: Path, tree: Tree
) -> None:
    with pytest.raises(KeyboardInterrupt):
        align.run(world.config(tmp_path / "out"), interrupt_at(stage, 1))
    assert set(tree(tmp_path)) == files


def test_an_interrupted_sweep_keeps_finished_stacks(world: World, tmp_path: Path, tree: Tree) -> None:
    config = world.config(tmp_path / "out", seeds=(1, 2, 3, 4, 5), fit=replace(FIT, stack=2, workers=1))
    with pytest.raises(KeyboardInterrupt):
        align.run(config, interrupt_at("training", 2))
    names = [f"de-routine3-mse-w0.1-lr0.001-seed{seed}" for seed in (1, 2)]
    runs = {f"out/{name}/{file}" for name in names for file in FILES}
    assert set(tree(tmp_path)) == runs | left([1, 2, 3, 4], "run-0002", "run-0003", "stack-0000")  # two, and the fifth
    found = evaluate.run(world.evaluation(tmp_path / "out", languages=("de",)))
    assert shown(found)[0].run in {str(tmp_path / "out" / name) for name in names}


def test_an_interrupted_overwrite_keeps_the_old_until_there_is_a_new_one(
    world: World, tmp_path: Path, tree: Tree
) -> None:
    align.run(world.config(tmp_path / "out"))
    before = tree(tmp_path)
    config = world.config(tmp_path / "out", overwrite=True, seeds=(8, 9), fit=replace(FIT, stack=1))
    with pytest.raises(KeyboardInterrupt):
        align.run(config, interrupt_at("training", 1))
    assert {name: content for name, content in tree(tmp_path).items() if not name.startswith(UNFINISHED)} == before


@pytest.mark.parametrize("fit", [replace(REFERENCE, validate_every=50), replace(FIT, steps=3, validate_every=50)])
def test_too_short_to_validate_still_yields_a_run(fit: object, world: World, tmp_path: Path, tree: Tree) -> None:
    result = align.run(world.config(tmp_path / "run", fit=fit))
    (run,) = result.runs
    record = read_run(Path(run.folder))
    assert set(tree(tmp_path)) == {f"run/{name}" for name in FILES}
    if fit == replace(REFERENCE, validate_every=50):
        assert (run.chosen_step, run.validation, record.history) == (4, {}, [])
    found = evaluate.run(world.evaluation(run.folder, languages=("de",)))
    assert shown(found)[0].after == pytest.approx(run.aligned, abs=1e-6)


def test_a_last_step_that_ruins_a_run_which_was_never_validated(world: World, tmp_path: Path) -> None:
    fit = replace(REFERENCE, steps=1, validate_every=50, dropout="off")
    events: list[Event] = []
    result = align.run(world.config(tmp_path / "out", fit=fit, learning_rates=(1e38, 1e-3)), events.append)
    label = "de-routine3-mse-w0.1-lr1e+38-seed1"
    assert result.failed == (label,)
    assert [r.learning_rate for r in result.runs] == [1e-3]
    assert Notice(f"run {label} diverged at step 1: loss is not finite; stopped", "warning") in events


@pytest.mark.parametrize("text", ["a small dog", None])
def test_soft_prompts(text: str | None, world: World, tmp_path: Path) -> None:
    method = MethodConfig("soft-prompt", tokens=5, prompt=text)
    result = align.run(world.config(tmp_path / "out", "de", "tr", method=method))
    lengths = {read_run(Path(r.folder)).delta["prompt.soft_embeddings"].shape[0] for r in result.runs}
    assert lengths == {3 if text else 5}
    found = evaluate.run(world.evaluation(tmp_path / "out"))
    after = {s.language: s.after for s in shown(found)}
    assert [after[r.language] for r in result.runs] == [pytest.approx(r.aligned, abs=1e-6) for r in result.runs]


def test_a_split_of_the_users_own(world: World, tmp_path: Path) -> None:
    names = [f"{n:03d}.png" for n in range(60)]
    split = {"train": names[::6], "validation": names[1::6], "test": names[2::3][::-1]}
    (tmp_path / "split.json").write_text(json.dumps(split))
    data = world.data(split_file=str(tmp_path / "split.json"), shots=None, val_shots=None)
    result = align.run(world.config(tmp_path / "run", data=data))
    assert read_run(Path(result.folder)).split == SplitNames(**{part: tuple(own) for part, own in split.items()})
    (tmp_path / "split.json").unlink()  # the run needs it no more
    found = evaluate.run(world.evaluation(result.folder, languages=("de",)))
    assert isinstance(found, Report)
    assert found.images == 20
    assert shown(found)[0].after == pytest.approx(result.runs[0].aligned, abs=1e-6)


def test_a_batch_larger_than_the_shots(world: World, tmp_path: Path) -> None:
    runs = [
        align.run(world.config(tmp_path / str(size), fit=replace(FIT, batch_size=size, steps=None, epochs=3)))
        for size in (SHOTS, 500)
    ]
    alike_runs(*(Path(result.runs[0].folder) for result in runs))
    assert read_run(Path(runs[1].folder)).history[-1]["step"] == 3


def test_several_captions_per_image(world: World, tmp_path: Path) -> None:
    rows = []
    for row in rows_of():
        rows.append(row)
        if row["lang"] == "de":  # German has two captions of every image, Turkish one
            rows.append({k: v if k in ("image", "lang") or not v else f"{v} an" for k, v in row.items()})
    data = world.data(root=str(write_table(tmp_path / "more.jsonl", rows)))
    result = align.run(world.config(tmp_path / "out", "de", "tr", data=data, routines=("1", "3")))
    found = evaluate.run(world.evaluation(tmp_path / "out"))
    assert isinstance(found, Report)
    assert found.images == 60 - 2 * SHOTS
    after = {s.run: s.after for s in shown(found) if s.run}
    assert {r.folder: r.aligned for r in result.runs if r.folder in after} == pytest.approx(after, abs=1e-6)
