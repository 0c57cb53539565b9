"""The map beside each result: fitted, chosen and measured again here, and shown wherever runs are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.jobs.conftest import IMAGES, SHOTS, World, rows_of, write_table
from xpet.cli.reports import FORMATS, render
from xpet.core import linear_map
from xpet.core.config import TextConfig
from xpet.core.map_score import MapScore
from xpet.core.rundir import read_run
from xpet.jobs.align import run as align
from xpet.jobs.eval import run as evaluation
from xpet.jobs.results.align import AlignResult
from xpet.jobs.results.report import Report


@pytest.fixture(scope="module")
def sweep(world: World, tmp_path_factory: pytest.TempPathFactory) -> AlignResult:
    """Two languages by two routines and two seeds."""
    out = tmp_path_factory.mktemp("maps") / "sweep"
    return align.run(world.config(out, "de", "tr", routines=("routine1", "routine3"), seeds=(1, 2)))


def oracle(world: World, run: Any, language: str, slot: str) -> tuple[str, float]:
    """The best of all candidates on the run's validation pictures, by loops over scores: its name and R@1 on test."""
    import numpy

    from xpet.models.checkpoint import load_text_tower
    from xpet.models.encode import encode_texts

    loaded = load_text_tower(world.text)
    features = torch.from_numpy(numpy.load(world.features)).double()
    rows = {row["image"]: row for row in rows_of() if row["lang"] == language}
    english = {row["image"]: row["caption"] for row in rows_of() if row["lang"] == "en"}

    def encoded(names: list[str], texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        text = encode_texts(loaded.tower, loaded.tokenizer, texts)
        return features[[int(name[:3]) for name in names]], text

    def searched(names: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        return encoded(names, [rows[name]["caption" if slot == "target" else slot] for name in names])

    def ranks(image: torch.Tensor, text: torch.Tensor) -> list[int]:
        scores = torch.nn.functional.normalize(text.double()) @ torch.nn.functional.normalize(image).T
        return [int((row > row[i]).sum()) for side in (scores, scores.T) for i, row in enumerate(side)]

    split = read_run(Path(run.folder)).split
    _, source = searched(list(split.train))
    _, target = encoded(list(split.train), [english[name] for name in split.train])
    image, text = searched(list(split.validation))
    tried = list(linear_map.candidates(source, target))
    mrr = [sum(1 / (1 + rank) for rank in ranks(image, each.map(text))) for each in tried]
    chosen = tried[max(range(len(tried)), key=lambda number: (round(mrr[number], 9), -number))]
    image, text = searched(list(split.test or ()))
    found = ranks(image, chosen.map(text))
    return chosen.name, 100 * sum(rank == 0 for rank in found) / len(found)


def test_the_map_is_the_best_on_validation_of_all_candidates(world: World, sweep: AlignResult) -> None:
    assert len(sweep.runs) == 8
    for run in sweep.runs:
        slot = "to_pivot" if run.routine == "routine3" else "target"
        assert run.map is not None
        assert run.map.pairs == SHOTS
        name, r1 = oracle(world, run, run.language, slot)
        assert run.map.name == name
        assert run.map.r1 == pytest.approx(r1, abs=1e-9)
        assert read_run(Path(run.folder)).metrics.map == run.map
    for language in sweep.languages:
        own = [run.map for run in sweep.runs if (run.language, run.routine) == (language.language, language.routine)]
        assert own == [language.map] * 2


def test_disparity_and_the_sentence_are_of_the_languages_shown(sweep: AlignResult) -> None:
    from xpet.core.disparity import disparity
    from xpet.core.map_score import conclusion

    maps = {each.language: each.map for each in sweep.languages}
    recall = {"en": sweep.english_before, **{lang: score.r1 for lang, score in maps.items() if score}}
    assert sweep.mapped == disparity(recall)  # type: ignore[arg-type]
    assert sweep.images == IMAGES - 2 * SHOTS
    assert sweep.conclusion == conclusion({each.language: each.aligned for each in sweep.languages}, maps, sweep.images)
    document = json.loads(json.dumps(sweep.to_dict()))
    assert document["mapped"]["mean"] == sweep.mapped.mean  # type: ignore[union-attr]
    assert document["languages"][0]["map"] == vars(maps["de"])
    assert document["conclusion"] == sweep.conclusion


def test_maps_are_fitted_once_for_all_runs_of_a_language_and_text(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[int] = []
    fit = linear_map.candidates

    def counted(*features: Any) -> Any:
        fitted.append(len(features[0]))
        return fit(*features)

    monkeypatch.setattr(linear_map, "candidates", counted)
    config = world.config(
        tmp_path / "grid", "de", "tr", routines=("baseline-target", "routine1", "routine3"), seeds=(1, 2)
    )
    result = align.run(config)
    assert (len(result.runs), fitted) == (12, [SHOTS] * 4)  # by two texts in two languages
    assert len({run.map for run in result.runs if run.language == "de" and run.routine != "routine3"}) == 1


@pytest.mark.parametrize("text", [TextConfig(), TextConfig(validate_on="text", natural_share=0.25)])
def test_routine_text_is_compared_with_a_map_of_its_pairs(world: World, tmp_path: Path, text: TextConfig) -> None:
    """Its own lines, and of natural captions as many as make their share: a quarter, but each once."""
    result = align.run(world.config(tmp_path / "text", "de", routines=("text",), text=text))
    (run,) = result.runs
    assert run.map is not None
    assert run.map.pairs == SHOTS * (2 if text.natural_share else 1)
    assert result.languages[0].map == run.map
    assert "de (" in result.conclusion


def test_without_english_captions_there_is_no_map(world: World, tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.jsonl", [row for row in rows_of() if row["lang"] != "en"])
    data = world.data(root=str(table))
    result = align.run(world.config(tmp_path / "run", "de", routines=("baseline-target",), data=data))
    assert (result.languages[0].map, result.mapped, result.conclusion) == (None, None, "")


def test_eval_shows_what_the_run_has_stored(world: World, sweep: AlignResult, tmp_path: Path) -> None:
    report = evaluation.run(world.evaluation(sweep.folder))
    assert isinstance(report, Report)
    tuned = report.systems[-1]
    assert {lang: scores.map for lang, scores in tuned.languages.items() if scores.map} == {
        each.language: each.map for each in sweep.languages
    }
    assert tuned.conclusion == sweep.conclusion
    assert tuned.mapped is not None
    assert sweep.mapped is not None
    assert tuned.mapped.worst == sweep.mapped.worst
    assert tuned.mapped.mean.value == pytest.approx(sweep.mapped.mean)
    for name in FORMATS:
        shown = render(report, name)
        assert "map" in shown
        assert name == "csv" or "Against the best map of the same captions" in " ".join(shown.split())
    assert 'language,"aligned, lora",,tr,,mean,map_r1,' in render(report, "csv")
    assert 'disparity,"aligned, lora",,,all,mean,map_range,' in render(report, "csv")


def test_runs_of_earlier_versions_have_none(world: World, sweep: AlignResult) -> None:
    for run in sweep.runs:
        path = Path(run.folder) / "metrics.json"
        document = json.loads(path.read_text())
        del document["map"]
        path.write_text(json.dumps(document))
    report = evaluation.run(world.evaluation(sweep.folder))
    assert isinstance(report, Report)
    tuned = report.systems[-1]
    assert (tuned.mapped, tuned.conclusion) == (None, "")
    assert {scores.map for scores in tuned.languages.values()} == {None}
    for name in ("table", "csv", "markdown", "latex"):
        assert "map" not in render(report, name)


def test_a_score_survives_its_document() -> None:
    from xpet.core.typed import build

    score = MapScore("ridge", 0.1, 100, 88.4)
    assert build(MapScore, json.loads(json.dumps(vars(score)))) == score
