"""Combines runs of several languages into one module, searches the weights on validation, and measures the price."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from xpet.core.captions import PIVOT
from xpet.core.config import CombineConfig, MergeConfig, MethodConfig
from xpet.core.errors import ConfigError, DataError
from xpet.core.estimates import Disparity
from xpet.core.events import Notice, OnEvent, Progress, ignore
from xpet.core.run_record import RunRecord
from xpet.core.weight_search import Point, Score, objective, search
from xpet.jobs.merge.combine_measure import CombineSetup, Ingredients, prepare
from xpet.jobs.merge.formats.base import MergeJob, job_of
from xpet.jobs.results.merge import Combination, Price, WeightSearch
from xpet.jobs.shared.run_records import (
    SAME_DATA,
    Alike,
    Runs,
    check_fingerprints,
    chosen_runs,
    read_runs,
)
from xpet.jobs.shared.towers import text_path

if TYPE_CHECKING:
    from torch import Tensor

    from xpet.methods.combining import Recipe

_VALIDATION: Alike = {"validation split": lambda record: record.split.validation}
_REMEDY = "combine runs that agree in it"
TEXTS = {"target": "natural captions", "to_pivot": "captions translated to English"}
"""The texts a run is searched with, in words, by slot."""


def combined_records(config: MergeConfig, on_event: OnEvent = ignore) -> tuple[Runs, Combination]:
    """Combine the runs of a configuration: a record per language, all with the same trained weights and method.

    In their metrics, `aligned` and `english_after` are measured now (None where `config.verify` is off), `trainable`
    and `share` are the combination's. Raises the XpetError family, see `runs_to_combine`.
    """
    config = config.check()
    return combined(job_of(config, runs_to_combine(config)), on_event)


def runs_to_combine(config: MergeConfig) -> Runs:
    """The run of each language that is best on validation, checked to go together.

    Raises ConfigError for fewer than two languages, another number of weights, or methods that cannot be combined;
    DataError for runs that differ in base, data, test split or the text they search with.
    """
    from xpet.methods.table import check_foldable

    assert config.combine is not None
    alike = {**SAME_DATA, **(_VALIDATION if config.combine.search else {})}
    runs = [best[0] for best in chosen_runs(read_runs(config.runs, alike=alike, remedy=_REMEDY)).values()]
    _check_no_embeddings(runs)
    _check_alike(runs)
    check_foldable(runs[0][1].method, str(runs[0][0]))
    _check_settings(config.combine, [record.language for _, record in runs], runs[0][1].method)
    return runs


def combined(job: MergeJob, on_event: OnEvent) -> tuple[Runs, Combination]:
    """The runs of a job, one per language, combined as its configuration says; see `combined_records`."""
    from xpet.methods.combining import combine

    config = job.config.combine
    assert config is not None
    ingredients = _ingredients(job, on_event)
    recipe = _recipe(config, list(ingredients.vectors))
    vector, searched, prices = combine(ingredients.vectors, recipe), None, {}
    if job.config.verify:
        setup = prepare(job, ingredients, max(vector.rank, ingredients.rank), config.search > 0, on_event)
        if config.search:
            recipe, searched = _search(config, setup, recipe, on_event)
            vector = combine(ingredients.vectors, recipe)
        prices = setup.prices(vector, on_event)
        del setup
        gc.collect()  # OpenDelta ties towers into cycles
    delta, method = ingredients.delta(vector)
    combination = Combination(
        recipe.strategy, recipe.weights, recipe.density, method.rank if vector.products else None, recipe.seed,
        sum(value.numel() for value in delta.values()), searched, prices, _spreads(prices),
    )  # fmt: skip
    return [(path, _record(record, delta, method, combination)) for path, record in job.runs], combination


def _check_no_embeddings(runs: Runs) -> None:
    """Raise ConfigError for runs with trained embeddings, which cannot be combined."""
    for path, record in runs:
        if "embeddings" in (record.method.train or ()):
            raise ConfigError(
                f"{path}: expected runs without trained embeddings to combine, found some; keep each language's own: "
                "xpet merge --pack, or train without --train embeddings"
            )


def _check_alike(runs: Runs) -> None:
    """Raise DataError for runs of several methods, or that search with several kinds of text."""
    first_path, first = runs[0]
    for path, record in runs[1:]:
        method, first_method = record.method.name, first.method.name
        if method != first_method:
            raise DataError(
                f"{path} was trained by {method} and {first_path} by {first_method}: expected one method to combine"
            )
        text, first_text = (TEXTS[each.routine.evaluation] for each in (record, first))
        if text != first_text:
            raise DataError(
                f"{path} searches with {text} and {first_path} with {first_text}: expected routines that search with "
                "the same, as one model must know what it is asked with"
            )


def _check_settings(config: CombineConfig, languages: list[str], method: MethodConfig) -> None:
    """Raise ConfigError for one language, another number of weights, or a cut that the method does not allow."""
    from xpet.methods.combining import STRATEGIES
    from xpet.methods.table import find_method

    problems = []
    if len(languages) < 2:
        problems.append(
            f"--strategy: expected runs of at least two languages, found only {languages[0]}; leave it out to merge one"
        )
    elif config.weights is not None and len(config.weights) != len(languages):
        problems.append(
            f"--weights: expected {len(languages)} numbers, for {', '.join(languages)} in this order, found "
            f"{len(config.weights)}"
        )
    cuts = STRATEGIES[config.strategy].truncates or config.rank is not None
    if cuts and "rank" not in find_method(method).settings:
        problems.append(f"--strategy svd and --rank cut products of LoRA: '{method.name}' has none")
    if problems:
        raise ConfigError(*problems)


def _ingredients(job: MergeJob, on_event: OnEvent) -> Ingredients:
    """The task vectors of the runs; raises ModelError for another base than they were trained on."""
    from xpet.methods.combining import absent, completed, joint, task_vector
    from xpet.models.checkpoint import open_text_tower

    opened = open_text_tower(text_path(job.model.text))
    check_fingerprints({"text": opened.fingerprint()}, {"text": job.model.text}, job.runs)
    base = opened.tensors
    vectors = {record.language: task_vector(record.method, record.delta, base) for _, record in job.runs}
    for language, missing in absent(vectors).items():
        on_event(Notice(f"{language}: {len(missing)} weights that other runs train count as unchanged ({missing[0]})"))
    return Ingredients(completed(vectors), joint([record.method for _, record in job.runs]), base)


def _recipe(config: CombineConfig, languages: list[str]) -> Recipe:
    """The recipe as it is configured; weights that are not given are 1/languages."""
    from xpet.methods.combining import Recipe

    weights = config.weights or (1 / len(languages),) * len(languages)
    return Recipe(config.strategy, dict(zip(languages, weights, strict=True)), config.kept, config.rank, config.seed)


def _search(
    config: CombineConfig, setup: CombineSetup, recipe: Recipe, on_event: OnEvent
) -> tuple[Recipe, WeightSearch]:
    """The recipe with the weights and density that score best on validation, English included; and how it was found."""
    from xpet.methods.combining import combine

    languages = list(recipe.weights)
    means: list[float] = []

    def recipe_at(point: Point) -> Recipe:
        return replace(recipe, weights=dict(zip(languages, point.weights, strict=True)), density=point.density)

    def evaluate(point: Point) -> Score:
        score = objective(setup.validation_recall(combine(setup.ingredients.vectors, recipe_at(point))))
        means.append(score[0])
        done = min(len(means), config.search)
        on_event(Progress("searching", done, config.search, f"mean R@1 {max(means):.1f}"))
        return score

    start = Point(tuple(recipe.weights.values()), recipe.density)
    best, tried = search(start, evaluate, config.search, config.seed)
    (first_mean, first_range), (mean, range_) = tried[start], tried[best]
    searched = WeightSearch(len(tried), setup.validation_images, (first_mean, -first_range), (mean, -range_))
    return recipe_at(best), searched


def _spreads(prices: Mapping[str, Price]) -> dict[str, Disparity[float]]:
    """Disparity over languages of the base, of each language's own module, and of the combination."""
    from xpet.core.disparity import disparity

    if not prices:
        return {}
    columns = ("base", "separate", "combined")
    return {name: disparity({lang: getattr(price, name) for lang, price in prices.items()}) for name in columns}


def _record(
    record: RunRecord, delta: Mapping[str, Tensor], method: MethodConfig, combination: Combination
) -> RunRecord:
    """The record of one language: its own data and settings, with the common weights and what was measured now."""
    price, english = (combination.languages.get(lang) for lang in (record.language, PIVOT))
    total = record.metrics.total
    metrics = replace(
        record.metrics, aligned=price.combined if price else None,
        english_after=english.combined if english else None, validation={},
        trainable=combination.trainable, share=total and 100 * combination.trainable / total,
    )  # fmt: skip
    made = {name: value for name, value in asdict(combination).items() if name not in ("languages", "spreads")}
    return replace(record, method=method, combination=made, delta=delta, history=[], metrics=metrics)
