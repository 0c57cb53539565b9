"""`xpet align --method linear-map`: fitted for every routine, written as any run, used wherever runs are."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import xpet
from tests.command import run_here
from tests.jobs.align.test_align import files_of, interrupt_at
from tests.jobs.align.test_text import own_text
from tests.jobs.conftest import SHOTS, World, rows_of, write_table
from xpet.core import rundir
from xpet.core.config import AlignConfig, CombineConfig, MergeConfig, MethodConfig
from xpet.core.errors import ConfigError, DataError
from xpet.core.linear_map import STRENGTHS
from xpet.core.run_record import RunRecord
from xpet.core.rundir import FILES, read_run
from xpet.jobs.align import chain, dry_run
from xpet.jobs.align import run as align
from xpet.jobs.align.status import status
from xpet.jobs.eval import run as evaluate
from xpet.jobs.merge import run as merge
from xpet.jobs.results.align import AlignResult
from xpet.models.checkpoint import load_text_tower
from xpet.models.encode import encode_texts

Tree = Callable[[Path], dict[str, bytes]]
ALL = ["identity", "shift", "rotation", *(f"ridge {strength:g}" for strength in STRENGTHS)]
ROUTINES = ("routine1", "routine2", "routine3")


def config(world: World, out: Path | None, *languages: str, **changes: Any) -> AlignConfig:
    made: AlignConfig = world.config(out, *languages, **{"method": "linear-map", "routines": ROUTINES, **changes})
    return made


@pytest.fixture(scope="module")
def sweep(world: World, tmp_path_factory: pytest.TempPathFactory) -> AlignResult:
    """Two languages by three routines and two seeds."""
    return align.run(config(world, tmp_path_factory.mktemp("maps") / "sweep", "de", "tr", seeds=(1, 2)))


def records(result: AlignResult) -> list[RunRecord]:
    return [read_run(Path(run.folder)) for run in result.runs]


def test_every_run_holds_the_candidate_that_was_best_on_validation(sweep: AlignResult, tree: Tree) -> None:
    assert set(tree(Path(sweep.folder))) == files_of(sweep, Path(sweep.folder))
    assert len(sweep.runs) == 12
    for run, record in zip(sweep.runs, records(sweep), strict=True):
        assert [entry["candidate"] for entry in record.history] == ALL  # type: ignore[comparison-overlap]
        figures = [entry["val_mrr"] for entry in record.history]
        assert run.chosen_step == record.metrics.chosen_step == figures.index(max(figures))
        assert run.candidate == record.metrics.candidate == ALL[run.chosen_step]
        assert set(record.delta) == {"LinearTransformation.weight", "LinearTransformation.bias"}
        assert run.trainable == sum(value.numel() for value in record.delta.values())
    assert any(run.candidate != "identity" and run.aligned > run.target_before for run in sweep.runs)


def test_it_is_the_map_that_stands_beside_other_methods(sweep: AlignResult) -> None:
    for run in sweep.runs:
        assert run.map is not None
        name = run.map.name if run.map.strength is None else f"{run.map.name} {run.map.strength:g}"
        assert (run.candidate, run.map.pairs) == (name, SHOTS)
        assert run.aligned == pytest.approx(run.map.r1, abs=1e-6)
    assert sweep.conclusion == ""


def test_seeds_and_routines_with_the_same_captions_give_the_same_map(sweep: AlignResult) -> None:
    by_run = {(run.language, run.routine, run.seed): record.delta for run, record in
              zip(sweep.runs, records(sweep), strict=True)}  # fmt: skip
    for language in ("de", "tr"):
        first = by_run[language, "routine1", 1]
        for other in (by_run[language, "routine1", 2], by_run[language, "routine2", 1]):
            assert all(torch.equal(value, other[name]) for name, value in first.items())
        third = by_run[language, "routine3", 1]
        assert not torch.equal(first["LinearTransformation.bias"], third["LinearTransformation.bias"])


def test_the_shift_is_the_difference_of_the_means_of_the_shots(world: World, tmp_path: Path) -> None:
    one = config(world, tmp_path / "run", routines=("routine3",), method=MethodConfig("linear-map", maps=("shift",)))
    align.run(one)
    record, loaded = read_run(tmp_path / "run"), load_text_tower(world.text)
    assert [entry["candidate"] for entry in record.history] == ["identity", "shift"]  # type: ignore[comparison-overlap]
    rows = {(row["image"], row["lang"]): row for row in rows_of()}
    means = [
        encode_texts(loaded.tower, loaded.tokenizer, [rows[name, lang][column] for name in record.split.train]).mean(0)
        for lang, column in (("de", "to_pivot"), ("en", "caption"))
    ]
    base = loaded.tower.state_dict()
    assert record.metrics.candidate == "shift"
    moved = record.delta["LinearTransformation.bias"] - base["LinearTransformation.bias"]
    torch.testing.assert_close(moved, means[1] - means[0], atol=1e-5, rtol=0)
    assert torch.equal(record.delta["LinearTransformation.weight"], base["LinearTransformation.weight"])


def test_settings_of_training_make_no_further_runs(world: World, tmp_path: Path) -> None:
    swept = config(
        world, tmp_path / "runs", "de", losses=("mse", "cosine"), learning_rates=(1e-3, 1e-2), routines=("1",),
        align_weights=(0.1, 1.0), image_weight=3.0,
    )  # fmt: skip
    plan = swept.check()
    assert plan == config(world, tmp_path / "runs", "de", routines=("1",)).check() == plan.check()
    assert [run.label for run in plan.runs()] == ["de-routine1-mse-w0.1-lr0.0005-seed1"]
    assert len(list(replace(swept, preset="paper").check().runs())) == 1
    assert not plan.needs_train_pictures


def test_text_is_fitted_on_all_lines_and_needs_no_batch(world: World, tmp_path: Path) -> None:
    text = replace(own_text(world, tmp_path / "run"), method=MethodConfig("linear-map"))
    result = align.run(replace(text, fit=replace(text.fit, batch_size=96)))
    record = read_run(tmp_path / "run")
    assert (result.runs[0].routine, result.text["de"]["pairs"]) == ("text", SHOTS)
    assert [entry["candidate"] for entry in record.history] == ALL  # type: ignore[comparison-overlap]


def test_eval_merge_and_load_take_it(world: World, sweep: AlignResult, tmp_path: Path) -> None:
    (best,) = (run for run in sweep.languages if run.language == "tr")
    found = evaluate.run(world.evaluation(best.folder, languages=("tr",)))
    system = found.systems[-1]
    assert (system.method, system.conclusion) == ("linear-map", "")
    assert system.languages["tr"].mean.r1.value == pytest.approx(best.aligned, abs=1e-6)  # type: ignore[union-attr]
    merge.run(MergeConfig((best.folder,), str(tmp_path / "merged"), device="cpu"))
    texts = ["kırmızı bir köpek", "iki kedi"]
    run = xpet.load(best.folder, device="cpu").encode_text(texts, lang="tr", normalize=False)
    merged = load_text_tower(tmp_path / "merged")
    torch.testing.assert_close(encode_texts(merged.tower, merged.tokenizer, texts), run, atol=1e-5, rtol=0)


def test_languages_combine_as_differences_of_heads(world: World, sweep: AlignResult, tmp_path: Path) -> None:
    ours = [run.folder for run in sweep.runs if (run.routine, run.seed) == ("routine1", 1)]
    made = MergeConfig(
        tuple(ours), str(tmp_path / "out"), device="cpu", combine=CombineConfig("linear", weights=(1.0, 0.5))
    )
    merge.run(made)
    base, both = (load_text_tower(path).tower.state_dict() for path in (world.text, tmp_path / "out"))
    de, tr = (read_run(Path(folder)).delta for folder in ours)
    for name, value in de.items():
        expected = base[name] + (value - base[name]) + 0.5 * (tr[name] - base[name])
        torch.testing.assert_close(both[name], expected, atol=1e-5, rtol=0)


def test_a_stopped_sweep_goes_on(world: World, sweep: AlignResult, tmp_path: Path) -> None:
    given = config(world, tmp_path / "out", "de", "tr", seeds=(1, 2))
    with pytest.raises(KeyboardInterrupt):
        align.run(given, interrupt_at("fitting", 5))
    (phase,) = status(tmp_path / "out").phases
    assert phase.counts["finished"] >= 4
    assert phase.next == f"xpet align --resume {tmp_path / 'out'}"
    done = run_here("align", "--resume", str(tmp_path / "out"), "--quiet", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    for run in sweep.runs:
        other = tmp_path / "out" / Path(run.folder).name
        assert (other / "history.jsonl").read_bytes() == (Path(run.folder) / "history.jsonl").read_bytes()
        assert (other / "delta.safetensors").read_bytes() == (Path(run.folder) / "delta.safetensors").read_bytes()
    (phase,) = status(tmp_path / "out").phases
    assert (phase.state, phase.counts) == ("finished", {"finished": 12})
    assert all(isinstance(value, float) for run in phase.runs for value in (run.figures or {}).values())


def test_a_run_is_a_configuration(world: World, sweep: AlignResult, tmp_path: Path) -> None:
    run = sweep.runs[0]
    done = run_here("align", "--config", run.folder, "--out", "again", "--json", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    (document,) = json.loads(done.stdout)["runs"]
    assert (document["candidate"], document["aligned"]) == (run.candidate, pytest.approx(run.aligned))
    assert {path.name for path in (tmp_path / "again").iterdir()} == set(FILES)


def test_the_result_in_words(world: World, tmp_path: Path) -> None:
    stored = config(world, tmp_path / "run", routines=("routine1",))
    align.run(stored)
    done = run_here("align", "--config", "run", "--out", "again", folder=tmp_path)
    candidate = read_run(tmp_path / "run").metrics.candidate
    assert f"Chosen by MRR on validation: de: routine1 {candidate}." in done.stdout.decode()


def test_the_dry_run_times_a_fit(world: World, tmp_path: Path) -> None:
    (phase,) = dry_run.run(config(world, tmp_path / "runs", "de", "tr")).phases
    assert (phase.runs, phase.steps) == (6, 1)
    assert phase.training > 0
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("words", "problem"), [
    ("--lr 1e-3 --epochs 2", "--epochs, --lr: expected without --method linear-map, which makes no use of it, found "
     "both; leave one out"),
    ("--train head", "--train: expected without --method linear-map, which makes no use of it, found both; leave one"),
    ("--routine text,1 --chain", "--method linear-map is fitted anew each time: leave out --chain"),
    ("--from run", "--method linear-map is fitted anew each time: leave out --from run"),
    ("--map shear", "unknown map 'shear': expected one of shift, rotation, ridge"),
    ("--routine baseline-translated", "--method linear-map is fitted to English captions: expected --routine routine1 "
     "or routine2 or routine3 or text, found baseline-translated, which aligns with none"),
])  # fmt: skip
def test_what_does_not_go_together(words: str, problem: str, tmp_path: Path) -> None:
    done = run_here("align", "--method", "linear-map", *words.split(), folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
    assert done.stderr.decode().startswith(f"xpet: error: {problem}")
    assert list(tmp_path.iterdir()) == []


def test_settings_of_training_in_a_file_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "xpet.toml").write_text("[align]\nlr = 0.1\nmethod = 'linear-map'\n")
    done = run_here("align", "--show-config", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")


def test_nothing_is_trained_on_top_of_it(world: World, sweep: AlignResult, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a run that was trained, found one of method 'linear-map', which"):
        align.run(world.config(tmp_path / "x", "de", routines=("1",), start=sweep.runs[0].folder))
    phases = world.config(tmp_path / "x", "de", routines=("1", "3"), method="linear-map", chain=True)
    with pytest.raises(ConfigError, match="fitted anew each time"):
        chain.run(phases)
    assert not (tmp_path / "x").exists()


def test_captions_without_english_are_refused(world: World, tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.jsonl", [row for row in rows_of() if row["lang"] != "en"])
    with pytest.raises(DataError, match="routine1 needs pivot texts of de"):
        align.run(config(world, tmp_path / "x", routines=("1",), data=world.data(root=str(table))))
    assert not (tmp_path / "x").exists()
    assert not rundir.unfinished_folder(tmp_path / "x").exists()
