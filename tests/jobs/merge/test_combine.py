"""`xpet merge --strategy` as a job: what is written and measured, weights by validation alone, what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.jobs.conftest import World
from tests.tiny import tiny_text_checkpoint
from xpet.core.config import CombineConfig, FitConfig, MergeConfig, MethodConfig
from xpet.core.disparity import disparity
from xpet.core.errors import ConfigError, XpetError
from xpet.core.events import Event, Notice, Progress
from xpet.core.language_pack import read_pack
from xpet.jobs.align import run as align
from xpet.jobs.merge import combine, combine_measure, pack
from xpet.jobs.merge import run as merge
from xpet.jobs.results.merge import MergeResult
from xpet.models.checkpoint import load_text_tower

FIT = FitConfig(batch_size=6, steps=6, validate_every=3, device="cpu", include_start=False)
FILES = {"README.md", "config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"}
SETTINGS: dict[str, Any] = {"fit": FIT, "learning_rates": (1e-2,), "routines": ("routine1",)}


@pytest.fixture(scope="session")
def runs(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """German of rank 8 and Turkish of rank 2 with more modules, both with routine 1."""
    folder = tmp_path_factory.mktemp("combined")
    wide = MethodConfig("lora", rank=2, alpha=4.0, modules=("query", "key", "value"))
    align.run(world.config(folder / "de", "de", **SETTINGS))
    align.run(world.config(folder / "tr", "tr", method=wide, **SETTINGS))
    return folder


def altered(original: Path, copy: Path, file: str, **sections: dict[str, Any]) -> Path:
    """A copy of a run in which some entries of a file's sections are others."""
    shutil.copytree(original, copy)
    document = json.loads((copy / file).read_text("utf-8"))
    for section, entries in sections.items():
        document[section] |= entries
    (copy / file).write_text(json.dumps(document), "utf-8")
    return copy


def config(out: Path, *runs: Path, strategy: str = "linear", verify: bool = True, **settings: Any) -> MergeConfig:
    return MergeConfig(
        tuple(map(str, runs)), str(out), device="cpu", verify=verify, combine=CombineConfig(strategy, **settings)
    )


def metrics(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "metrics.json").read_text("utf-8"))
    return found


def made(
    out: Path, *runs: Path, on_event: Callable[[Event], None] = lambda event: None, **settings: Any
) -> MergeResult:
    return merge.run(config(out, *runs, **settings), on_event)


def refused(out: Path, *runs: Path, **settings: Any) -> str:
    with pytest.raises(XpetError) as error:
        made(out, *runs, **settings)
    assert not out.exists()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(("strategy", "rank"), [("linear", 10), ("ties", 64), ("dare", 64), ("svd", 8)])
def test_one_checkpoint_for_two_languages(strategy: str, rank: int, runs: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    out = tmp_path / "out"
    result = made(out, runs / "de", runs / "tr", on_event=events.append, strategy=strategy)
    assert {p.name for p in out.iterdir()} == FILES == set(result.files)
    found, verified = result.combination, result.verification
    assert found is not None
    assert verified is not None
    assert (found.strategy, found.rank, found.weights) == (strategy, rank, {"de": 0.5, "tr": 0.5})
    assert (result.languages, list(found.languages)) == (("de", "tr"), ["de", "tr", "en"])
    de, tr = (metrics(runs / lang) for lang in ("de", "tr"))
    prices = found.languages
    assert {lang: p.base for lang, p in prices.items()} == {
        "de": de["target_before"], "tr": tr["target_before"], "en": de["english_before"],
    }  # fmt: skip
    assert {lang: p.separate for lang, p in prices.items()} == {
        "de": de["aligned"], "tr": tr["aligned"], "en": de["english_before"],
    }  # fmt: skip
    assert {lang: p.combined for lang, p in prices.items()} == verified.unmerged == verified.merged
    assert all(p.price == p.combined - p.separate for p in prices.values())
    for name, spread in found.spreads.items():
        expected = disparity({lang: getattr(price, name) for lang, price in prices.items()})
        assert (spread.mean, spread.range, spread.std) == (expected.mean, expected.range, expected.std)
    assert set(found.spreads) == {"base", "separate", "combined"}
    notices = [event.text for event in events if isinstance(event, Notice)]
    assert len(notices) == 1
    assert notices[0].startswith("de: 2 weights that other runs train count as unchanged (transformer.encoder.layer.0.")
    stages = [event.stage for event in events if isinstance(event, Progress)]
    assert list(dict.fromkeys(stages)) == ["measuring", "unmerged", "writing", "merged"]
    json.dumps(result.to_dict(), allow_nan=False)
    written = json.loads((out / "config.json").read_text("utf-8"))["xpet"]["combination"]
    assert (written["strategy"], written["weights"]) == (strategy, {"de": 0.5, "tr": 0.5})


def test_the_weights_are_what_the_runs_add_up_to(world: World, runs: Path, tmp_path: Path) -> None:
    """The written weights against sums of the deltas on disk."""
    made(tmp_path / "out", runs / "de", runs / "tr", weights=(0.75, 2.0), verify=False)
    base, merged = (load_text_tower(path).tower.state_dict() for path in (world.text, tmp_path / "out"))
    de, tr = (load_file(runs / lang / "delta.safetensors") for lang in ("de", "tr"))
    host, norm = "transformer.encoder.layer.1.attention.self.{}", "transformer.encoder.layer.0.output.LayerNorm.bias"
    parts = {
        lang: {
            name: scale * (delta[f"{host.format(name)}.lora.lora_B"] @ delta[f"{host.format(name)}.lora.lora_A"])
            for name in names
        }
        for lang, delta, scale, names in (("de", de, 2.0, ("query",)), ("tr", tr, 2.0, ("query", "key")))
    }
    query = 0.75 * parts["de"]["query"] + 2.0 * parts["tr"]["query"]
    for name, change in (("query", query), ("key", 2.0 * parts["tr"]["key"])):
        weight = f"{host.format(name)}.weight"
        torch.testing.assert_close(merged[weight], base[weight] + change, atol=1e-6, rtol=0)
        assert change.abs().max() > 1e-3
    summed = base[norm] + 0.75 * (de[norm] - base[norm]) + 2.0 * (tr[norm] - base[norm])
    torch.testing.assert_close(merged[norm], summed, atol=1e-6, rtol=0)


def test_the_same_command_writes_the_same_files(runs: Path, tmp_path: Path, tree: Callable[[Path], Any]) -> None:
    for name, seed in (("one", 7), ("two", 7), ("three", 8)):
        made(tmp_path / name, runs / "de", runs / "tr", strategy="dare", density=0.3, seed=seed, verify=False)
    one, two, three = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two", "three"))
    assert one.keys() == two.keys()
    for name, value in one.items():  # sums of products, each time of files read anew: equal but for rounding
        torch.testing.assert_close(two[name], value, rtol=1e-6, atol=1e-7)
    files = [tree(tmp_path / name) for name in ("one", "two")]
    assert files[0].pop("model.safetensors")[:8] == files[1].pop("model.safetensors")[:8]  # headers of one length
    assert files[0] == files[1]
    assert max(float((three[name] - value).abs().max()) for name, value in one.items()) > 1e-3


def test_weights_are_searched_on_validation_alone(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []
    right = combine_measure.CombineSetup.recall

    def recall(self: Any, language: str, part: str = "test", slot: str | None = None) -> float:
        measured.append(part)
        return right(self, language, part, slot)

    monkeypatch.setattr(combine_measure.CombineSetup, "recall", recall)
    steps: list[Progress] = []

    def listen(event: Event) -> None:
        if isinstance(event, Progress) and event.stage == "searching":
            steps.append(event)
            assert set(measured) == {"validation"}

    two = (runs / "de", runs / "tr")
    found = made(tmp_path / "out", *two, on_event=listen, strategy="ties", search=4, seed=3).combination
    assert found is not None
    assert found.search is not None
    assert (found.search.tried, found.search.images) == (4, 12)
    assert [(step.done, step.total) for step in steps] == [(number, 4) for number in range(1, 5)]
    assert measured == ["validation"] * 4 * 3 + ["test"] * (3 + 2 + 3)
    mean, gap = found.search.start
    assert (found.search.found[0], -found.search.found[1]) >= (mean, -gap)
    settings: dict[str, Any] = {
        "strategy": "ties",
        "weights": tuple(found.weights.values()),
        "density": found.density,
        "seed": 3,
    }
    again = made(tmp_path / "again", *two, **settings).combination
    assert again is not None
    assert again.languages == found.languages
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert "(best of 4 on 12 validation images) |" in card


def test_a_searched_combination_goes_into_a_pack(runs: Path, tmp_path: Path) -> None:
    """What was tried stands in it as JSON holds it, with lists."""
    out = tmp_path / "all.xpet"
    result = pack.run(config(out, runs / "de", runs / "tr", search=3))
    assert result.combination is not None
    assert result.combination.search is not None
    german, _ = read_pack(out)
    assert german.record.combination is not None
    assert german.record.combination["search"]["start"] == list(result.combination.search.start)


def test_records_that_share_one_delta(runs: Path, tmp_path: Path) -> None:
    records, found = combine.combined_records(
        config(tmp_path / "out", runs / "de", runs / "tr", strategy="svd", rank=3)
    )
    assert [path for path, _ in records] == [runs / "de", runs / "tr"]
    assert [record.run.language for _, record in records] == ["de", "tr"]
    (_, de), (_, tr) = records
    assert de.delta is tr.delta
    assert de.method == tr.method
    assert (de.method.rank, de.method.modules) == (3, ("query", "value", "key"))
    for language, record in (("de", de), ("tr", tr)):
        assert record.metrics.aligned == found.languages[language].combined
        assert record.metrics.target_before == metrics(runs / language)["target_before"]
        assert record.metrics.english_after == found.languages["en"].combined
        assert record.metrics.trainable == found.trainable == sum(v.numel() for v in de.delta.values())
    unmeasured, none = combine.combined_records(config(tmp_path / "out", runs / "de", runs / "tr", verify=False))
    assert (none.languages, none.spreads) == ({}, {})
    assert [record.metrics.aligned for _, record in unmeasured] == [None, None]
    assert list(tmp_path.iterdir()) == []


def test_the_card_says_what_combining_costs(runs: Path, tmp_path: Path) -> None:
    result = made(tmp_path / "out", runs / "de", runs / "tr", strategy="ties", weights=(0.25, 1.0))
    assert result.combination is not None
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert "| combined by | ties, density 0.2, seed 1 |\n| weights | de 0.25, tr 1 (given) |" in card
    price = result.combination.languages["tr"]
    row = f"| tr | {price.base:.2f} | {price.separate:.2f} | {price.combined:.2f} | {price.price:+.2f} |"
    assert "| language | base | separate | this model | price |\n|---|---:|---:|---:|---:|\n| de |" in card
    assert row in card
    assert "routine, loss" not in card
    made(tmp_path / "quick", runs / "de", runs / "tr", verify=False)
    assert "\nNot measured (`--no-verify`).\n" in (tmp_path / "quick" / "README.md").read_text("utf-8")


def test_biases_combine_as_differences(world: World, tmp_path: Path) -> None:
    align.run(world.config(tmp_path / "runs", "de", "tr", method="bitfit", **SETTINGS))
    one, two = sorted((tmp_path / "runs").glob("*/"))
    out = tmp_path / "out"
    result = made(out, tmp_path / "runs", weights=(1.0, 0.5))
    assert result.verification is not None
    assert result.combination is not None
    assert result.combination.rank is None
    name = "transformer.encoder.layer.0.output.dense.bias"
    base, merged = (load_text_tower(path).tower.state_dict()[name] for path in (world.text, out))
    de, tr = (load_file(path / "delta.safetensors")[name] for path in (one, two))
    torch.testing.assert_close(merged, de + 0.5 * (tr - base), atol=1e-6, rtol=0)
    text = refused(tmp_path / "no", one, two, strategy="svd")
    assert text == "--strategy svd and --rank cut products of LoRA: 'bitfit' has none"


def test_what_does_not_go_together(runs: Path, tmp_path: Path) -> None:
    de, tr, out = runs / "de", runs / "tr", tmp_path / "out"
    assert refused(out, de) == (
        "--strategy: expected runs of at least two languages, found only de; leave it out to merge one"
    )
    assert refused(out, de, tr, weights=(1.0,)) == ("--weights: expected 2 numbers, for de, tr in this order, found 1")
    bitfit = altered(de, tmp_path / "bitfit", "config.json", method={"name": "bitfit"})
    assert refused(out, bitfit, tr) == (
        f"{tr} was trained by lora and {bitfit} by bitfit: expected one method to combine"
    )
    translated = altered(tr, tmp_path / "translated", "config.json", run={"routine": "routine3"})
    assert refused(out, de, translated) == (
        f"{translated} searches with captions translated to English and {de} with natural captions: expected routines "
        "that search with the same, as one model must know what it is asked with"
    )
    other = altered(tr, tmp_path / "other", "environment.json", fingerprints={"text": "0" * 64})
    assert refused(out, de, other) == f"{other} and {de} differ in base: combine runs that agree in it"
    with pytest.raises(ConfigError) as error:
        merge.run(MergeConfig((str(de), str(tr)), str(out)))
    assert str(error.value) == (
        f"{de}, {tr}: expected one run, found 2: name one of them: de, tr; or combine the languages by --strategy, or "
        "keep each in one file by --pack"
    )


@pytest.mark.parametrize("verify", [True, False])
def test_a_base_that_changed(verify: bool, runs: Path, tmp_path: Path) -> None:
    text = tiny_text_checkpoint(tmp_path / "text", seed=4)
    both = [altered(runs / lang, tmp_path / lang, "config.json", model={"text": str(text)}) for lang in ("de", "tr")]
    found = refused(tmp_path / "out", *both, verify=verify)
    assert found.startswith(f"{both[0]} was trained on another text tower: expected weights ")


def test_weights_that_are_not_finite(runs: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs / "tr", tmp_path / "run"))
    delta = load_file(run / "delta.safetensors")
    name = min(delta)
    delta[name].view(-1)[0] = float("nan")
    save_file(delta, run / "delta.safetensors")
    assert refused(tmp_path / "out", runs / "de", run) == (
        f"{run}: expected finite weights, found NaN or infinity in {name}; train the run again"
    )


def test_captions_that_are_gone(runs: Path, tmp_path: Path) -> None:
    """Nothing can be measured then, but still combined."""
    gone = {"root": str(tmp_path / "gone.jsonl")}
    both = [altered(runs / language, tmp_path / language, "config.json", data=gone) for language in ("de", "tr")]
    assert refused(tmp_path / "out", *both).endswith(
        "; --no-verify merges without comparing on the run's test captions"
    )
    assert made(tmp_path / "out", *both, verify=False).verification is None


def test_settings_are_checked_together() -> None:
    asked = MergeConfig(
        ("nowhere",), "out", verify=False,
        combine=CombineConfig("tie", (0.5, float("nan"), -1.0), density=1.5, rank=0, search=3, seed=-1),
    )  # fmt: skip
    with pytest.raises(ConfigError) as error:
        merge.run(asked)
    assert error.value.problems == (
        "unknown strategy 'tie': expected one of linear, ties, dare, svd; did you mean 'ties'?",
        "--weights: expected numbers from 0, found nan",
        "--weights: expected numbers from 0, found -1",
        "--density: expected a share above 0 and at most 1, found 1.5",
        "--rank must be at least 1, found 0",
        "--seed: expected a number from 0 to 2^63, found -1",
        "--search measures on validation captions: it does not go with --no-verify",
    )
    for combined, problem in (
        (CombineConfig("svd", density=0.5), "--density is for ties, dare: 'svd' keeps all values"),
        (CombineConfig("svd", (0.0, 0.0)), "--weights: expected at least one above 0, found none"),
        (CombineConfig("svd", search=-1), "--search: expected a number of combinations to try, found -1"),
    ):
        with pytest.raises(ConfigError) as error:
            replace(asked, verify=True, combine=combined).check()
        assert error.value.problems == (problem,)


def test_trained_embeddings_are_kept_apart(world: World, tmp_path: Path) -> None:
    method = MethodConfig("lora", train=("layernorm", "embeddings"), embedding_rank=4)
    align.run(world.config(tmp_path / "runs", "de", "tr", method=method, routines=("routine1",)))
    with pytest.raises(ConfigError, match=r"expected runs without trained embeddings to combine, .* xpet merge --pack"):
        merge.run(MergeConfig((str(tmp_path / "runs"),), str(tmp_path / "out"), combine=CombineConfig("linear")))
