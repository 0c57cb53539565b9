"""`xpet eval` as a job: zero-shot, runs, lint, and what it refuses to compare."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.jobs.conftest import IMAGES, SHOTS, World, rows_of, shown, write_table
from tests.tiny import tiny_text_checkpoint
from xpet.core.config import DataConfig, ModelConfig
from xpet.core.errors import DataError, ModelError, XpetError
from xpet.core.rundir import FILES
from xpet.jobs.align import run as align
from xpet.jobs.eval import run as evaluate
from xpet.jobs.results.lint import LintResult
from xpet.jobs.results.report import Report

Tree = Callable[[Path], dict[str, bytes]]


def scores(world: World, *runs: Path | str, **changes: Any) -> dict[str, tuple[float, float | None]]:
    found = evaluate.run(world.evaluation(*runs, **changes))
    return {s.language: (s.before, s.after) for s in shown(found)}


@pytest.fixture(scope="session")
def sweep(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of de and tr with two seeds each; tests copy what they damage."""
    folder = tmp_path_factory.mktemp("sweeps") / "sweep"
    align.run(world.config(folder, "de", "tr", seeds=(1, 2)))
    return folder


@pytest.fixture
def run(sweep: Path, tmp_path: Path) -> Path:
    """A copy of one run of de."""
    return Path(shutil.copytree(sweep / "de-routine3-mse-w0.1-lr0.001-seed1", tmp_path / "run"))


def test_zero_shot_needs_no_run_and_writes_nothing(world: World, tmp_path: Path) -> None:
    config = world.evaluation(model=ModelConfig(str(world.text)), data=world.data(shots=None, val_shots=None))
    found = evaluate.run(config)
    assert [s.language for s in shown(found)] == ["en", "de", "tr"]
    assert [s.after for s in shown(found)] == [None] * 3
    assert isinstance(found, Report)
    assert (found.images, found.synthetic, [s.kind for s in found.systems]) == (IMAGES, False, ["base", "base"])
    values = [s.before for s in shown(found)]
    assert values[0] > 60 > 20 > max(values[1:])  # features were made from the English captions
    spread = found.systems[0].spread
    assert spread.range.value == pytest.approx(max(values) - min(values))
    assert spread.mean_gap
    assert spread.mean_gap.value == pytest.approx(values[0] - (values[1] + values[2]) / 2)
    assert list(tmp_path.iterdir()) == []
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_sweep_shows_the_best_run_per_language_and_the_base_for_others(world: World, sweep: Path) -> None:
    metrics = {path.parent: json.loads(path.read_text("utf-8")) for path in sweep.glob("*/metrics.json")}
    found = evaluate.run(world.evaluation(sweep))
    by_language = {s.language: s for s in shown(found)}
    assert (by_language["en"].after, by_language["en"].run) == (None, None)
    for language in ("de", "tr"):
        mine = {path: m for path, m in sorted(metrics.items()) if m["language"] == language}
        best = max(mine, key=lambda path: (mine[path]["validation"]["val_mrr"], -mine[path]["validation"]["val_loss"]))
        score = by_language[language]
        assert (score.run, score.seeds) == (str(best), 2)
        assert score.after == pytest.approx(sum(m["aligned"] for m in mine.values()) / 2, abs=1e-6)
        assert score.english_after == pytest.approx(sum(m["english_after"] for m in mine.values()) / 2, abs=1e-6)
        assert score.translated == pytest.approx(mine[best]["translated_before"], abs=1e-6)
        assert score.before == pytest.approx(mine[best]["target_before"], abs=1e-6)
    assert isinstance(found, Report)
    assert found.images == IMAGES - 2 * SHOTS
    after = [by_language["en"].before, by_language["de"].after or 0, by_language["tr"].after or 0]
    assert found.systems[-1].spread.mean.value == pytest.approx(sum(after) / 3)


def test_runs_may_be_moved_and_need_nothing_but_their_path(world: World, run: Path, sweep: Path) -> None:
    assert scores(world, run, languages=("de",)) == scores(
        world, sweep / "de-routine3-mse-w0.1-lr0.001-seed1", languages=("de",)
    )


def test_data_that_has_moved(world: World, run: Path, tmp_path: Path) -> None:
    config = json.loads((run / "config.json").read_text("utf-8"))
    table, features = tmp_path / "table.jsonl", tmp_path / "features.npy"
    shutil.copy(world.table, table)
    shutil.copy(world.features, features)
    before = scores(world, run, languages=("de",))
    config["data"] |= {"root": str(tmp_path / "gone.jsonl"), "image_features": str(tmp_path / "gone.npy")}
    (run / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(DataError, match="found nothing there; check --data-root"):
        scores(world, run)
    data = DataConfig(name="table", root=str(table), image_features=str(features))
    assert scores(world, run, languages=("de",), data=data) == before


def test_a_base_that_changed_since(world: World, tmp_path: Path) -> None:
    text = tmp_path / "text"
    shutil.copytree(world.text, text)
    align.run(world.config(tmp_path / "run", model=ModelConfig(str(text))))
    shutil.rmtree(text)
    tiny_text_checkpoint(text, seed=4)
    with pytest.raises(ModelError) as error:
        evaluate.run(world.evaluation(tmp_path / "run"))
    message = str(error.value)
    assert message.startswith(f"{tmp_path / 'run'} was trained on another text tower: expected weights ")
    assert message.endswith(f"in '{text}'; restore that checkpoint or train again")


def test_captions_that_changed_since(world: World, tmp_path: Path) -> None:
    table = write_table(tmp_path / "own.jsonl", rows_of())
    align.run(world.config(tmp_path / "run", data=world.data(root=str(table))))
    rows = rows_of()
    rows[1]["caption"] += " an"
    write_table(table, rows)
    with pytest.raises(DataError, match="^the test captions of de changed since the runs were trained: restore them"):
        evaluate.run(world.evaluation(tmp_path / "run"))


def test_test_images_that_are_gone(world: World, run: Path) -> None:
    split = json.loads((run / "split.json").read_text("utf-8"))
    split["test"][0] = "lost.png"
    (run / "split.json").write_text(json.dumps(split), "utf-8")
    with pytest.raises(DataError, match=r"expected the run's test images in the data, found 1 missing: \['lost.png'\]"):
        evaluate.run(world.evaluation(run))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"method": "bitfit"}, "method"),
        ({"data": {"split_seed": 7}}, "test split"),
        ({"text": 9}, "base"),
        ({"data": {"name": "multi30k"}}, "data"),
    ],
)
def test_runs_that_do_not_belong_together(
    changes: dict[str, Any], what: str, world: World, run: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    if "text" in changes:
        changes = {"model": ModelConfig(str(tiny_text_checkpoint(tmp_path / "text", seed=9)))}
    if what == "data":
        shutil.copytree(run, other)
        config = json.loads((other / "config.json").read_text("utf-8"))
        config["data"] |= changes["data"]
        (other / "config.json").write_text(json.dumps(config), "utf-8")
    else:
        if "data" in changes:
            changes = {"data": replace(world.data(), **changes["data"])}
        align.run(world.config(other, **changes))
    with pytest.raises(DataError) as error:
        evaluate.run(world.evaluation(run, other))
    assert str(error.value) == f"{other} and {run} differ in {what}: evaluate them one at a time"


@pytest.mark.parametrize("size", [0, 7, 500, -1])
def test_a_damaged_delta(size: int, world: World, run: Path) -> None:
    path = run / "delta.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ModelError, match=r"^cannot read .*delta\.safetensors: .*; the run is damaged, train it again$"):
        evaluate.run(world.evaluation(run))


def test_a_delta_of_another_shape(world: World, run: Path, tmp_path: Path) -> None:
    config = json.loads((run / "config.json").read_text("utf-8"))
    config["method"]["rank"] = 3
    (run / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(ModelError, match=r"^delta does not fit: .*lora_A is \(8, 64\), expected \(3, 64\)$"):
        evaluate.run(world.evaluation(run))


@pytest.mark.parametrize("damage", ["{", '{"schema": 1}', '{"schema": 2}', "[]", '{"schema": 1, "model": 5, "run": 3}'])
def test_a_damaged_config(damage: str, world: World, run: Path) -> None:
    (run / "config.json").write_text(damage, "utf-8")
    with pytest.raises(XpetError, match="train it again$|update xpet$"):
        evaluate.run(world.evaluation(run))


def test_folders_that_are_no_run(world: World, run: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a run folder, found no folder .*nowhere"):
        evaluate.run(world.evaluation(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=f"empty is no run: expected the files {', '.join(FILES)}"):
        evaluate.run(world.evaluation(tmp_path / "empty"))
    (run / "split.json").unlink()
    with pytest.raises(DataError, match="is no run: expected the files"):
        evaluate.run(world.evaluation(run))


def test_eval_changes_no_run(world: World, run: Path, tmp_path: Path, tree: Tree) -> None:
    before = tree(tmp_path)
    scores(world, run)
    assert tree(tmp_path) == before


def test_an_unknown_language(world: World, run: Path) -> None:
    with pytest.raises(DataError, match="^unknown language of table 'xx': expected one of de, en, tr"):
        evaluate.run(world.evaluation(run, languages=("xx",)))


def test_features_that_do_not_belong_to_the_data(world: World, run: Path, tmp_path: Path) -> None:
    numpy.save(tmp_path / "few.npy", numpy.load(world.features)[:20])
    data = DataConfig(name="table", image_features=str(tmp_path / "few.npy"))
    with pytest.raises(ModelError, match=r"was trained on another image tower: expected weights .* in '.*few\.npy'"):
        evaluate.run(world.evaluation(run, data=data))


def test_lint_alone_reports_all_and_raises_nothing(world: World, tmp_path: Path) -> None:
    rows = [{**row, "caption": "собака кошка" if row["lang"] == "de" else row["caption"]} for row in rows_of()]
    data = DataConfig(name="table", root=str(write_table(tmp_path / "own.jsonl", rows)))
    found = evaluate.run(world.evaluation(data=data, lint_only=True))
    assert isinstance(found, LintResult)
    assert found.errors == 1
    assert found.findings[0]["languages"] == ("de",)
    clean = evaluate.run(world.evaluation(data=world.data(), lint_only=True))
    assert isinstance(clean, LintResult)
    assert clean.errors == 0
    narrow = evaluate.run(world.evaluation(data=data, lint_only=True, languages=("tr",)))
    assert isinstance(narrow, LintResult)
    assert narrow.errors == 0


def test_a_run_whose_weights_are_not_finite(world: World, run: Path) -> None:
    delta = load_file(run / "delta.safetensors")
    name = max(delta)
    delta[name].view(-1)[-1] = float("nan")
    save_file(delta, run / "delta.safetensors")
    with pytest.raises(ModelError) as error:
        evaluate.run(world.evaluation(run))
    expected = f"{run}: expected finite weights, found NaN or infinity in {name}; train the run again"
    assert str(error.value) == expected
    delta[name] = torch.empty(0)
    save_file(delta, run / "delta.safetensors")
    with pytest.raises(ModelError, match=rf"^{run}: expected weights, found 1 empty tensors \({name}\), as DeepSpeed"):
        evaluate.run(world.evaluation(run))


@pytest.mark.parametrize(
    ("file", "place", "value", "words"),
    [
        ("config", "run.seed", [None], "config.json: run.seed: expected a whole number, found [None]"),
        ("config", "run.seed", True, "config.json: run.seed: expected a whole number, found True"),
        ("config", "run.seed", 2**70, "config.json: run.seed: expected a number of 64 bits, found 1.18e+21"),
        ("config", "run.routine", "routine9", "config.json: unknown routine 'routine9': expected one of "),
        ("config", "run.language", None, "config.json: run.language: expected text, found None"),
        ("config", "method.embedding_rank", {}, "config.json: method.embedding_rank: expected a whole number, found "),
        ("config", "method.rank", 0, "config.json: method: rank must be positive, found 0"),
        ("config", "method.modules", "query", "config.json: method.modules: expected a list, found 'query'"),
        ("config", "method.modules", [3], "config.json: method.modules: expected text, found 3"),
        ("config", "method.colour", 1, "config.json: unknown field method.colour; update xpet, or train the run again"),
        ("config", "data.shots", [4], "config.json: data.shots: expected text, found [4]"),
        ("config", "model", "demo", "config.json: expected an object model, found 'demo'"),
        ("config", "fit.select", "best", "config.json: unknown selection rule 'best': expected one of "),
        ("metrics", "align_weight", [1, "a"], "metrics.json: align_weight: expected a number, found [1, 'a']"),
        ("metrics", "seconds", {"a": 1}, "metrics.json: seconds: expected a number, found {'a': 1}"),
        ("metrics", "validation", {"val_mrr": "x"}, "metrics.json: validation: val_mrr: expected a number, found 'x'"),
        ("metrics", "total", None, ""),
        ("environment", "fingerprints.text", 1, "environment.json: fingerprints: text: expected text, found 1"),
        ("environment", "feature_precision", [], "environment.json: feature_precision: expected text, found []"),
        ("environment", "versions", None, "environment.json: expected an object versions, found None"),
        ("split", "test", 0.5, "split.json: test: expected a list, found 0.5"),
        ("split", "train", ["a", 1], "split.json: train: expected text, found 1"),
    ],
)  # fmt: skip
def test_documents_with_values_of_other_types(
    file: str, place: str, value: object, words: str, world: World, run: Path
) -> None:
    path = run / f"{file}.json"
    document = inner = json.loads(path.read_text("utf-8"))
    *way, last = place.split(".")
    for name in way:
        inner = inner[name]
    inner[last] = value
    path.write_text(json.dumps(document), "utf-8")
    if not words:
        assert evaluate.run(world.evaluation(run))
        return
    with pytest.raises(DataError) as error:
        evaluate.run(world.evaluation(run))
    assert str(error.value).startswith(f"{run}/{words}")
    assert "train" in str(error.value)


def test_documents_that_lack_something(world: World, run: Path) -> None:
    for file, name in (("config", "run"), ("metrics", "aligned"), ("metrics", "language"), ("split", "validation")):
        path = run / f"{file}.json"
        before = path.read_text("utf-8")
        path.write_text(json.dumps({k: v for k, v in json.loads(before).items() if k != name}), "utf-8")
        if name != "aligned":
            with pytest.raises(
                DataError, match=rf"^{run}/{file}.json: expected (an object )?{name}, found [nN]one; the"
            ):
                evaluate.run(world.evaluation(run))
        path.write_text(before, "utf-8")
