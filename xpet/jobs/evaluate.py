"""`xpet eval`: options -> run directories -> captions and image features -> tower and deltas -> metrics -> result."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpet.core.captions import PIVOT, TRANSLATED, Corpus, Split
from xpet.core.config import DataConfig, EvalConfig, MethodConfig, ModelConfig, RunConfig
from xpet.core.errors import ConfigError, DataError, ModelError
from xpet.core.events import OnEvent, Progress, ignore
from xpet.core.languages import ALL, choose
from xpet.core.routines import ROUTINES, Routine
from xpet.core.rundir import RunRecord, find_runs, read_run
from xpet.jobs import measure, translations, wiring
from xpet.jobs.results import EvalResult, LanguageScore, LintResult, RunResult
from xpet.jobs.summary import after_spread, choose_setting, mean_known, spread

if TYPE_CHECKING:
    from torch import Tensor

    from xpet.methods.stack import Stack

Runs = Sequence[tuple[Path, RunRecord]]


def run(config: EvalConfig, on_event: OnEvent = ignore) -> EvalResult | LintResult:
    """Zero-shot R@1 of every language, or before and after of run folders, or lint alone.

    Raises the XpetError family: unknown data or language, a folder that is no run, runs of different data or base, a
    base that changed since the run was trained.
    """
    if config.lint_only:
        return _lint(config)
    if config.runs:
        return _runs(config, on_event)
    return _zero_shot(config, on_event)


def _own(config: EvalConfig) -> tuple[ModelConfig, DataConfig]:
    """Towers and data without runs: as asked, the demo where nothing is."""
    demo = wiring.DEMO
    return replace(config.model, text=config.model.text or demo), replace(config.data, name=config.data.name or demo)


def _lint(config: EvalConfig) -> LintResult:
    from xpet.data.lint import lint

    corpus = wiring.read_corpus(_own(config)[1])
    findings = [asdict(finding) for finding in lint(corpus)]
    if config.languages:
        languages = set(choose(config.languages, corpus.languages, corpus.name, with_pivot=True))
        findings = [f for f in findings if languages & set(f["languages"])]
    return LintResult(corpus.name, tuple(findings))


def _zero_shot(config: EvalConfig, on_event: OnEvent) -> EvalResult:
    model, data = _own(config)
    corpus, test, languages = _test_of(config, data, None, (), on_event)
    towers = wiring.load_towers(model, data.image_features)
    device = _device(config)
    images = wiring.features_of(corpus, [test], towers, data, device, on_event)[0]
    encode = measure.encoder(towers.text.tower.to(device), towers.text.tokenizer)
    scores = []
    for done, language in enumerate(languages, start=1):
        scores.append(_base_score(encode, test, images, language))
        on_event(Progress("evaluating", done, len(languages), language))
    before = spread([{s.language: s.before for s in scores}])
    return EvalResult(corpus.name, corpus.synthetic, len(test.images), tuple(scores), before, None)


def _test_of(
    config: EvalConfig, data: DataConfig, names: Sequence[str] | None, needed: Sequence[str], on_event: OnEvent
) -> tuple[Corpus, Split, tuple[str, ...]]:
    """Corpus, test split (or the named images of it) and languages to show; linted."""
    from xpet.data.splits import source

    whole = wiring.read_corpus(data)
    languages = choose(config.languages or (ALL,), whole.languages, whole.name, with_pivot=True)
    whole = translations.stored(whole, languages, data.translations)
    slots = ("target", "pivot", "to_pivot")
    corpus = wiring.restrict(whole, list(dict.fromkeys((*languages, PIVOT))), slots)
    wiring.check_lint(whole, corpus, slots, on_event)
    test = source(corpus, "test")
    test = test if names is None else _named(test, names)
    command = translations.data_options(data)
    filled = translations.fill(wiring.as_corpus(corpus, test=test), languages, needed, ("to_pivot",), command, on_event)
    return corpus, filled.splits["test"], languages


def _device(config: EvalConfig) -> str:
    from xpet.training.device import make_engine

    return str(make_engine(config.fit.device).device)


def _base_score(encode: measure.Encode, test: Split, images: Tensor, language: str) -> LanguageScore:
    """The base model on natural captions and, where there are any, on translated ones."""
    captions = test.captions[language]
    translated = None
    if language != PIVOT and "to_pivot" in captions.texts:
        translated = measure.recall(encode, captions, "to_pivot", images)
    return LanguageScore(language, measure.recall(encode, captions, "target", images), translated)


def _runs(config: EvalConfig, on_event: OnEvent) -> EvalResult:
    """Before and after of every language: each aligned language by its own deltas, all others by the base."""
    records = [(path, _read(path)) for given in config.runs for path in find_runs(Path(given))]
    _check_together(records)
    first = records[0][1]
    model, data = _theirs(config, first)
    needed = sorted({_routine(record).evaluation for _, record in records} & set(TRANSLATED))
    corpus, test, languages = _test_of(config, data, first.split["test"], needed, on_event)
    _check_captions(test, records)
    towers = wiring.load_towers(model, data.image_features)
    _check_base(towers, records)
    images = wiring.features_of(corpus, [test], towers, data, _device(config), on_event)[0]
    chosen = _choose(records)
    scores, per_seed = _scores(config, chosen, first, towers, test, images, languages, on_event)
    before = {s.language: s.before for s in scores}
    return EvalResult(
        corpus.name, corpus.synthetic, len(test.images), tuple(scores), spread([before]),
        after_spread(per_seed, before) if per_seed else spread([before]),
        any(ROUTINES[r.config["run"]["routine"]].translates_queries for rs in chosen.values() for _, r in rs),
    )  # fmt: skip


def _theirs(config: EvalConfig, record: RunRecord) -> tuple[ModelConfig, DataConfig]:
    """Towers and data of a run, with the places the user gives now; raises ConfigError for other data."""
    model, data = ModelConfig(**record.config["model"]), DataConfig(**record.config["data"])
    asked = config.data
    for what, mine, theirs in (("data set", asked.name, data.name), ("variant", asked.variant, data.variant)):
        if mine and mine != theirs:
            raise ConfigError(f"the runs were trained on {what} '{theirs}': expected that or nothing, found '{mine}'")
    places = ("root", "image_features", "translations")
    given = {name: value for name in places if (value := getattr(asked, name))}
    model = ModelConfig(config.model.text or model.text, config.model.image or model.image)
    return model, replace(data, **given)


def _choose(records: Runs) -> dict[str, list[tuple[Path, RunRecord]]]:
    """Per language the runs of the setting `align` would choose, best first."""
    by_folder: dict[str, tuple[Path, RunRecord]] = {}
    results: dict[str, list[RunResult]] = {}
    for path, record in records:
        by_folder[str(path)] = (path, record)
        results.setdefault(_language(record), []).append(_result(path, record))
    select = records[0][1].config["fit"]["select"]
    return {lang: [by_folder[r.folder] for r in choose_setting(runs, select)] for lang, runs in results.items()}


def _scores(
    config: EvalConfig, chosen: Mapping[str, Runs], first: RunRecord, towers: wiring.Towers, test: Split,
    images: Tensor, languages: Sequence[str], on_event: OnEvent,
) -> tuple[list[LanguageScore], dict[str, dict[int, float]]]:  # fmt: skip
    """The score of every language, and R@1 per seed of the aligned ones."""
    from xpet.methods.stack import build_stack

    stack = build_stack(towers.text.tower, _method_config(first, towers), [1]).to(_device(config))
    encode = measure.encoder(stack.tower, towers.text.tokenizer)
    scores, per_seed = [], {}
    for done, language in enumerate(languages, start=1):
        with stack.bare():
            score = _base_score(encode, test, images, language)
        if language in chosen:
            score, per_seed[language] = _aligned(stack, encode, chosen[language], test, images, score)
        scores.append(score)
        on_event(Progress("evaluating", done, len(languages), language))
    return scores, per_seed


def _aligned(
    stack: Stack, encode: measure.Encode, runs: Runs, test: Split, images: Tensor, score: LanguageScore
) -> tuple[LanguageScore, dict[int, float]]:
    """A language's score completed by its runs, and R@1 per seed."""
    slot = ROUTINES[runs[0][1].config["run"]["routine"]].evaluation
    after: dict[int, float] = {}
    english: list[float | None] = []
    for _, record in runs:
        stack.load(0, record.delta)
        with stack.one(0):
            after[record.config["run"]["seed"]] = measure.recall(encode, test.captions[score.language], slot, images)
            if PIVOT in test.captions:
                english.append(measure.recall(encode, test.captions[PIVOT], "target", images))
    values = list(after.values())
    done = replace(
        score, after=statistics.fmean(values), after_std=statistics.pstdev(values), english_after=mean_known(english),
        text=slot, seeds=len(values), run=str(runs[0][0]),
    )  # fmt: skip
    return done, after


def _language(record: RunRecord) -> str:
    return str(record.config["run"]["language"])


def _routine(record: RunRecord) -> Routine:
    return ROUTINES[record.config["run"]["routine"]]


def _read(path: Path) -> RunRecord:
    """A run directory with everything in it that is needed here; raises DataError, ModelError."""
    record = read_run(path)
    try:
        for name, kind in (("run", RunConfig), ("model", ModelConfig), ("data", DataConfig), ("method", MethodConfig)):
            kind(**record.config[name])
        _result(path, record), ROUTINES[record.config["run"]["routine"]], record.config["fit"]["select"]  # noqa: B018
        record.split["test"], record.environment["fingerprints"], record.environment["test_captions"]  # noqa: B018
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: config.json or its fellows lack or add something ({error}); train it again") from None
    return record


def _result(path: Path, record: RunRecord) -> RunResult:
    """What the run measured when it was trained; raises TypeError when something is missing."""
    names = {field.name for field in fields(RunResult)}
    known = {name: value for name, value in record.metrics.items() if name in names}
    return RunResult(**{**known, "folder": str(path)})


def _check_together(records: Runs) -> None:
    """Runs shown in one table must share base, data, split and method."""
    first_path, first = records[0]
    for path, record in records[1:]:
        for what, mine, theirs in (
            ("base", record.environment["fingerprints"], first.environment["fingerprints"]),
            ("data", record.config["data"]["name"], first.config["data"]["name"]),
            ("test split", record.split["test"], first.split["test"]),
            ("method", record.config["method"], first.config["method"]),
        ):
            if mine != theirs:
                raise DataError(f"{path} and {first_path} differ in {what}: evaluate them one at a time")


def _check_base(towers: wiring.Towers, records: Runs) -> None:
    for path, record in records:
        for which, expected in record.environment["fingerprints"].items():
            found = towers.fingerprints[which]
            if None not in (expected, found) and found != expected:
                raise ModelError(
                    f"{path} was trained on another {which} tower: expected weights {expected[:12]}, found "
                    f"{str(found)[:12]} in '{towers.names[which]}'; restore that checkpoint or train again"
                )


def _check_captions(test: Split, records: Runs) -> None:
    """The test captions of every run's language must be those it was measured on."""
    changed = {
        _language(record)
        for _, record in records
        if _language(record) in test.captions
        and wiring.captions_digest(test.captions[_language(record)], ("target", _routine(record).evaluation))
        != record.environment["test_captions"]
    }
    if changed:
        raise DataError(
            f"the test captions of {', '.join(sorted(changed))} changed since the runs were trained: "
            "restore them or train again"
        )


def _named(split: Split, names: Sequence[str]) -> Split:
    place = {name: i for i, name in enumerate(split.images)}
    missing = [name for name in names if name not in place]
    if missing:
        raise DataError(f"expected the run's test images in the data, found {len(missing)} missing: {missing[:3]}")
    return split.take([place[name] for name in names])


def _method_config(record: RunRecord, towers: wiring.Towers) -> MethodConfig:
    """The run's method; a soft prompt is as long as it was trained, and gets its room in the position table."""
    known: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in record.config["method"].items()}
    method = MethodConfig(**known)
    prompt = record.delta.get("prompt.soft_embeddings")
    if prompt is None:
        return method
    towers.text.tokenizer.reserve(len(prompt))
    return replace(method, tokens=len(prompt))
