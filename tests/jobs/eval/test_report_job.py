"""What `xpet eval` reports besides before and after: systems, intervals, comparisons, gates, results read again."""

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

from tests.jobs.conftest import SHOTS, World, rows_of, write_table
from tests.naive import recall_at_1
from xpet.cli.app import main
from xpet.cli.reports import FORMATS
from xpet.core.config import DataConfig, GateConfig, ModelConfig
from xpet.core.errors import ConfigError, DataError, ModelError
from xpet.jobs.align import run as align
from xpet.jobs.eval import run as evaluate
from xpet.jobs.results.from_json import from_dict
from xpet.jobs.results.report import Report
from xpet.jobs.shared.run_records import read_runs
from xpet.models.checkpoint import load_text_tower
from xpet.models.encode import encode_texts


@pytest.fixture(scope="session")
def runs(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of German by LoRA, one of an adapter, and a routine that searches with translations."""
    folder = tmp_path_factory.mktemp("report") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XPET_CACHE", str(folder.parent / "cache"))
        align.run(world.config(folder / "lora", seeds=(1, 2), routines=("routine1",)))
        align.run(world.config(folder / "adapter", method="adapter", routines=("routine1",)))
    return folder


def report(world: World, *paths: Path | str, **changes: Any) -> Report:
    if not paths:
        data = world.data(shots=None, val_shots=None)
        changes = {"model": ModelConfig(str(world.text)), "data": data, **changes}
    found = evaluate.run(world.evaluation(*paths, **changes))
    assert isinstance(found, Report)
    return found


def saved(found: Report, path: Path) -> str:
    path.write_text(json.dumps(found.to_dict()), encoding="utf-8")
    return str(path)


def test_systems_by_text(world: World) -> None:
    found = report(world, texts=("target", "to-pivot", "pivot"))
    assert [(s.name, s.text, s.kind) for s in found.systems] == [
        ("zero-shot", "target", "base"), ("translated", "to_pivot", "base"),
        ("English text", "pivot", "base"),
    ]  # fmt: skip
    english = found.systems[2].languages
    assert english["de"].mean.r1.value == pytest.approx(english["en"].mean.r1.value, abs=1e-9)
    assert found.systems[1].translates_queries
    assert [c.system for c in found.comparisons] == ["translated", "English text"]


def test_figures_are_those_of_a_naive_loop(world: World) -> None:
    loaded = load_text_tower(world.text)
    captions = [row["caption"] for row in rows_of() if row["lang"] == "de"]
    text = encode_texts(loaded.tower, loaded.tokenizer, captions).double()
    image = torch.from_numpy(numpy.load(world.features)).double()
    found = report(world).systems[0].languages["de"]
    forth, back = recall_at_1(image.tolist(), text.tolist(), list(range(len(text))))
    assert found.mean.r1.value == pytest.approx(50 * (numpy.mean(forth) + numpy.mean(back)), abs=1e-6)
    scores = torch.nn.functional.normalize(image, dim=1) @ torch.nn.functional.normalize(text, dim=1).T
    for name, k in (("r1", 1), ("r5", 5), ("r10", 10)):
        hits = [float(i in row.topk(k).indices) for i, row in enumerate(scores)]
        assert getattr(found.image_to_text, name).value == pytest.approx(100 * sum(hits) / len(hits), abs=1e-6)
    ranks = [1 + int((row > row[i]).sum()) for i, row in enumerate(scores.T)]
    assert found.text_to_image.median_rank.value == pytest.approx(float(numpy.median(ranks)))
    assert found.text_to_image.mrr.value == pytest.approx(100 * float(numpy.mean([1 / r for r in ranks])), abs=1e-4)


def test_prompts(world: World) -> None:
    found = report(world, prompts=("a photo of {}", "native", "none"))
    assert [s.prompt for s in found.systems if s.prompt] == ["a photo of {}", "native", "none"]
    plain, none = found.systems[0], found.systems[-1]
    assert {k: v.mean for k, v in plain.languages.items()} == {k: v.mean for k, v in none.languages.items()}
    assert plain.languages["de"].mean != found.systems[2].languages["de"].mean
    with pytest.raises(ConfigError, match="expected a template with exactly one {}, found 0"):
        report(world, prompts=("a photo of",))


def test_prompts_averaged(world: World) -> None:
    same = report(world, prompts=("none", "{} "), ensemble=True).systems
    assert [s.prompt for s in same if s.prompt] == ["none + {} "]
    assert same[-1].languages["de"].mean.r1.value == pytest.approx(same[0].languages["de"].mean.r1.value)
    shared = report(world, prompts=("english", "a picture of {}"), ensemble=True).systems[-1]
    single = report(world, prompts=("english",)).systems[-1]
    assert shared.languages["de"].mean != single.languages["de"].mean
    with pytest.raises(ConfigError, match="--ensemble: expected at least two prompts to average, found 1"):
        report(world, prompts=("english",), ensemble=True)


def test_the_english_tower(world: World) -> None:
    found = report(world, english=str(world.text))
    english, translated = found.systems[-1], found.systems[1]
    assert english.name == f"English tower {world.text}, translated"
    assert {k: v.mean for k, v in english.languages.items()} == {k: v.mean for k, v in translated.languages.items()}


def test_intervals_groups_seeds_and_cost(world: World, runs: Path) -> None:
    found = report(world, runs / "lora", resamples=200, groups=("seen", "script"), latency=True)
    system = found.systems[-1]
    german = system.languages["de"]
    low, high = german.mean.r1.low, german.mean.r1.high
    assert low is not None
    assert high is not None
    assert low < german.mean.r1.value < high
    assert german.seeds == 2
    assert german.std >= 0
    assert german.english is not None
    assert {n: list(s.languages) for n, s in system.groups.items()} == {
        "seen: unseen": ["en", "tr"], "seen: seen": ["de"], "script: latin": ["en", "de", "tr"],
    }  # fmt: skip
    cost = system.cost
    assert cost is not None
    record = read_runs([str(runs / "lora")])[0]
    assert (cost.trainable, cost.module_bytes) == (
        record[1].metrics.trainable, sum(len(value.numpy().tobytes()) for value in record[1].delta.values())
    )  # fmt: skip
    assert cost.latency is not None
    assert cost.latency.milliseconds_per_query > 0
    assert found.comparisons[-1].languages["de"].p is not None
    assert found.comparisons[-1].languages["tr"].r1.value == 0


def test_the_same_seed_gives_the_same_report(world: World, runs: Path) -> None:
    one, two, other = (
        json.dumps(report(world, runs / "lora", resamples=100, seed=seed).to_dict()["systems"]) for seed in (3, 3, 4)
    )
    assert one == two
    assert one != other


def test_compare_runs_and_result_files(world: World, runs: Path, tmp_path: Path) -> None:
    stored = saved(report(world, runs / "adapter"), tmp_path / "adapter.json")
    direct = report(world, runs / "lora", runs / "adapter", compare=True, resamples=50)
    mixed = report(world, runs / "lora", stored, compare=True, resamples=50)
    assert [s.name for s in direct.systems] == ["lora", "adapter"]
    assert [s.name for s in mixed.systems] == ["lora", "adapter.json"]
    mine, theirs = (r.comparisons[0].languages for r in (direct, mixed))
    assert {k: v.r1.value for k, v in mine.items()} == pytest.approx({k: v.r1.value for k, v in theirs.items()})
    values = [s.languages["de"].mean.r1.value for s in direct.systems]
    assert mine["de"].r1.value == pytest.approx(values[1] - values[0])


def test_what_cannot_be_compared(world: World, runs: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--compare: expected at least two runs, folders or result files, found 1"):
        report(world, runs / "lora", compare=True)
    whole = saved(report(world), tmp_path / "whole.json")
    with pytest.raises(DataError, match="were measured on different test images: expected the same data and split"):
        report(world, runs / "lora", whole, compare=True)
    with pytest.raises(DataError, match="expected different runs to compare, found .* twice"):
        report(world, runs / "lora", runs / "lora", compare=True)
    found = report(world, runs / "adapter")
    bare = [
        replace(s, languages={k: replace(v, per_image=None) for k, v in s.languages.items()}) for s in found.systems
    ]
    without = saved(replace(found, systems=tuple(bare)), tmp_path / "bare.json")
    with pytest.raises(DataError, match="bare.json: expected hits per image of en to compare, found none"):
        report(world, runs / "lora", without, compare=True)
    changed = {**found.environment, "captions": {**found.environment["captions"], "de": "0"}}
    other = saved(replace(found, environment=changed), tmp_path / "other.json")
    with pytest.raises(DataError, match="were measured on different captions of de: expected the same"):
        report(world, runs / "lora", other, compare=True)


@pytest.mark.parametrize(
    ("gate", "option", "passed"),
    [
        (GateConfig(drop=100.0), "--fail-if-drop", True),
        (GateConfig(drop=-100.0), "--fail-if-drop", False),
        (GateConfig(range_above=100.0), "--fail-if-range-above", True),
        (GateConfig(range_above=0.5), "--fail-if-range-above", False),
        (GateConfig(under=1.0), "--fail-under", True),
        (GateConfig(under=99.0), "--fail-under", False),
    ],
)
def test_gates(world: World, gate: GateConfig, option: str, passed: bool) -> None:
    (found,) = report(world, gate=gate).gates
    assert (found.option, found.passed) == (option, passed)


def test_a_result_read_again_renders_the_same(world: World, runs: Path, tmp_path: Path) -> None:
    first = report(world, runs / "lora", resamples=50, diagnose=True)
    again = evaluate.run(world.evaluation(saved(first, tmp_path / "r.json"), data=DataConfig(name="")))
    assert isinstance(again, Report)
    assert again == from_dict(json.loads(json.dumps(first.to_dict())), "x")
    assert json.dumps(again.to_dict()) == json.dumps(first.to_dict())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: {**d, "schema": 1}, "expected result schema 2, found 1; measure again with this xpet"),
        (lambda d: {**d, "command": "align"}, "expected a result of `xpet eval --json`, found something else"),
        (lambda d: {k: v for k, v in d.items() if k != "systems"}, "found a damaged one"),
    ],
)
def test_damaged_results(world: World, tmp_path: Path, damage: Callable[[Any], Any], message: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps(damage(report(world).to_dict())), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        evaluate.run(world.evaluation(path))
    assert message in str(caught.value)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="expected a result of `xpet eval --json`, found Expecting"):
        evaluate.run(world.evaluation(path))


def test_features_without_a_direction_are_named(world: World, tmp_path: Path) -> None:
    features = numpy.load(world.features)
    features[7] = 0
    numpy.save(tmp_path / "zero.npy", features)
    with pytest.raises(DataError, match=r"^expected finite, non-zero image features, found 1 that are not: 007.png$"):
        report(world, data=world.data(shots=None, val_shots=None, image_features=str(tmp_path / "zero.npy")))


def test_a_language_without_the_texts_is_left_out_with_a_warning(world: World, tmp_path: Path) -> None:
    rows = [{k: v for k, v in row.items() if row["lang"] != "tr" or k != "from_pivot"} for row in rows_of()]
    data = world.data(shots=None, val_shots=None, root=str(write_table(tmp_path / "some.jsonl", rows)))
    with pytest.raises(DataError, match="expected from_pivot texts of tr, found neither them nor Argos packages"):
        report(world, data=data, texts=("from-pivot",))
    found = report(world, data=data, texts=("from-pivot",), languages=("en", "de"))
    assert set(found.systems[1].languages) == {"en", "de"}


def test_runs_that_cannot_be_told_apart(world: World, runs: Path, tmp_path: Path) -> None:
    one = sorted((runs / "lora").iterdir())[0]
    other = Path(shutil.copytree(one, tmp_path / "again"))
    with pytest.raises(DataError, match=f"{one} and {other} are runs of the same language, setting and seed"):
        report(world, runs / "lora", other)


def test_folders_of_sweeps_and_runs_are_found(world: World, runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "lora", tmp_path / "all" / "de")
    found = report(world, tmp_path / "all")
    assert found.systems[-1].languages["de"].seeds == 2


def test_forgetting_is_measured_whatever_is_shown(world: World, runs: Path) -> None:
    whole, german = report(world, runs / "lora"), report(world, runs / "lora", languages=("de",))
    assert whole.systems[0].english == german.systems[0].english
    own = whole.systems[-1].languages["de"]
    assert own.english == german.systems[-1].languages["de"].english
    assert set(own.untrained) == {"tr"}
    drop = GateConfig(drop=-100.0)
    (gate,) = report(world, runs / "lora", languages=("de",), gate=drop).gates
    assert not gate.passed
    assert "aligned, lora: " in gate.message
    with pytest.raises(ConfigError, match="--latency needs runs"):
        report(world, latency=True)


def test_forgetting_is_judged_when_runs_are_compared(world: World, runs: Path) -> None:
    found = report(world, runs / "lora", runs / "adapter", compare=True, gate=GateConfig(drop=-100.0))
    assert found.systems[0].english == report(world, runs / "lora").systems[0].english
    assert found.systems[1].languages["de"].english is not None
    assert not found.gates[0].passed


def test_only_what_is_searched_differently_is_tested(world: World, runs: Path) -> None:
    found = report(world, runs / "lora", resamples=50).comparisons
    translated, aligned = (c.languages for c in found)
    assert [lang for lang, d in translated.items() if d.p is not None] == ["de", "tr"]
    assert [lang for lang, d in aligned.items() if d.p is not None] == ["de"]
    assert aligned["de"].p == aligned["de"].p_holm


def test_groups_hold_the_same_languages_before_and_after(world: World, runs: Path) -> None:
    before, *_, after = report(world, runs / "lora", groups=("seen",)).systems
    assert {n: list(s.languages) for n, s in before.groups.items()} == {
        n: list(s.languages) for n, s in after.groups.items()
    }


def test_zero_shot_results_compare_by_their_base(world: World, tmp_path: Path) -> None:
    one, two = (saved(report(world), tmp_path / f"{name}.json") for name in "ab")
    found = report(world, one, two, compare=True)
    assert {s.text for s in found.systems} == {"target"}
    base = report(world).systems[0].languages["de"].mean.r1.value
    assert found.systems[1].languages["de"].mean.r1.value == base


def test_limits_judge_the_base_where_there_are_no_runs(world: World) -> None:
    mean = report(world).systems[0].spread.mean.value
    (gate,) = report(world, gate=GateConfig(under=mean + 0.1)).gates
    assert (gate.passed, gate.message) == (False, f"zero-shot: mean R@1 is {mean:.1f}")


def test_other_bases_are_not_compared(world: World, runs: Path, tmp_path: Path) -> None:
    found = report(world, runs / "adapter")
    prints = {**found.environment["fingerprints"], "text": "other"}
    other = replace(found, environment={**found.environment, "fingerprints": prints})
    with pytest.raises(DataError, match="were measured with different text towers: expected the same base"):
        report(world, runs / "lora", saved(other, tmp_path / "other.json"), compare=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"diagnose": True, "prompts": ("english",)},
            "--prompt needs a new measurement, found the result r.json; --diag",
        ),
        ({"compare": True, "runs": ("r.json", "s.json"), "texts": ("pivot",)}, "--text does not go with --compare"),
    ],
)
def test_options_without_effect_are_refused(world: World, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        evaluate.run(world.evaluation(**{"runs": ("r.json",), **changes}))
    assert message in str(caught.value)


def test_what_is_asked_twice_is_measured_once(world: World) -> None:
    found = report(world, prompts=("english", "english"), texts=("to-pivot", "to_pivot"))
    assert [s.name for s in found.systems] == [
        "zero-shot", "translated", "prompt english", "prompt english, translated",
    ]  # fmt: skip


def command(world: World, *more: str) -> list[str]:
    data = ["--data", "table", "--data-root", str(world.table), "--image-features", str(world.features)]
    return ["eval", "--model", str(world.text), *data, "--device", "cpu", "--resamples", "20", *more]


def called(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_every_format_in_a_file_and_a_picture(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = tmp_path / "result.json"
    assert called(command(world, "-o", str(result), "--plot", str(tmp_path / "p.svg"))) == 0
    names = {"json": "a.json", "csv": "a.csv", "markdown": "a.md", "latex": "a.tex", "html": "a.html", "table": "a.txt"}
    assert set(names) | {"terminal"} == set(FORMATS)
    for name in names.values():
        assert called(["eval", str(result), "-o", str(tmp_path / name)]) == 0
    assert {p.name for p in tmp_path.iterdir() if p.is_file()} == {"result.json", "p.svg", *names.values()}
    assert (tmp_path / "a.json").read_bytes() == result.read_bytes()
    assert capsys.readouterr().out == ""
    assert called(["eval", str(result), "--format", "csv"]) == 0
    assert capsys.readouterr().out.splitlines() == (tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()


def test_the_exit_code_of_a_broken_limit(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = tmp_path / "result.json"
    assert called(command(world, "--fail-under", "99", "-o", str(result))) == 3
    assert "--fail-under 99: zero-shot: mean R@1 is " in capsys.readouterr().err
    assert result.exists()
    assert called(["eval", str(result), "--fail-under", "1", "--json"]) == 0
    gates = json.loads(capsys.readouterr().out)["gates"]
    assert [gate["passed"] for gate in gates] == [True]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--format", "word"], "unknown format 'word'"),
        (["--json", "--format", "csv"], "expected one of them, found both"),
        (["-o", "report.doc"], "expected --format, or an ending of .json"),
        (["--plot", "p.gif"], "expected an ending of png, svg, pdf, found 'gif'"),
        (["--text", "all"], "unknown text 'all'"),
        (["--group", "size"], "unknown grouping 'size'"),
        (["--resamples", "-1"], "resamples must not be negative"),
    ],
)
def test_bad_options(more: list[str], message: str, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(command(world, *more)) == 2
    found = capsys.readouterr().err
    assert message in found
    assert found.count("\n") == 1


def test_an_output_that_cannot_be_written(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(command(world, "-o", str(tmp_path / "no" / "r.json"))) == 2
    assert "cannot write" in capsys.readouterr().err


def test_a_base_that_is_gone(world: World, runs: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        report(world, runs / "lora", model=ModelConfig(str(tmp_path / "gone")))
    assert SHOTS == 12
