"""`xpet eval`: options -> run directories -> captions and image features -> tower and deltas -> metrics -> result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpet.core.captions import PIVOT, Split
from xpet.core.config import DataConfig, EvalConfig, MethodConfig, ModelConfig, RunConfig
from xpet.core.errors import DataError, ModelError
from xpet.core.events import OnEvent, Progress, ignore
from xpet.core.languages import ALL, choose
from xpet.core.routines import ROUTINES
from xpet.core.rundir import RunRecord, find_runs, read_run
from xpet.jobs import measure, wiring
from xpet.jobs.results import EvalResult, LanguageScore, LintResult
from xpet.jobs.summary import spread

if TYPE_CHECKING:
    from torch import Tensor

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


def _lint(config: EvalConfig) -> LintResult:
    from xpet.data.lint import lint

    corpus = wiring.read_corpus(config.data)
    if config.languages:
        languages = choose(config.languages, corpus.languages, corpus.name, with_pivot=True)
        corpus = wiring.restrict(corpus, languages)
    return LintResult(corpus.name, tuple(asdict(finding) for finding in lint(corpus)))


def _zero_shot(config: EvalConfig, on_event: OnEvent) -> EvalResult:
    corpus = wiring.read_corpus(config.data)
    languages = choose(config.languages or (ALL,), corpus.languages, corpus.name, with_pivot=True)
    corpus = wiring.restrict(corpus, languages, ("target", "pivot"))
    wiring.check_lint(corpus, on_event)
    test = corpus.splits.get("test") or corpus.splits["all"]
    model = config.model or ModelConfig()
    towers = wiring.load_towers(model, with_image=config.data.image_features is None)
    images = wiring.features_of(corpus, [test], towers, config.data, _device(config), on_event)[0]
    tower = towers.text.tower.to(_device(config))
    encode = measure.encoder(tower, towers.text.tokenizer)
    scores = []
    for done, language in enumerate(languages, start=1):
        scores.append(LanguageScore(language, measure.recall(encode, test.captions[language], "target", images)))
        on_event(Progress("evaluating", done, len(languages), language))
    before = spread([{s.language: s.before for s in scores}])
    return EvalResult(corpus.name, corpus.synthetic, len(test.images), tuple(scores), before, None)


def _device(config: EvalConfig) -> str:
    from xpet.training.device import make_engine

    return str(make_engine(config.fit.device, config.fit.precision).device)


def _runs(config: EvalConfig, on_event: OnEvent) -> EvalResult:
    """Before and after of every language: each run's language by its own delta, all others by the base."""
    records = [(path, _read(path)) for given in config.runs for path in find_runs(Path(given))]
    _check_together(records)
    first = records[0][1]
    model = config.model or ModelConfig(**first.config["model"])
    asked, stored = config.data, DataConfig(**first.config["data"])
    features = asked.image_features or stored.image_features
    data = replace(stored, root=asked.root or stored.root, image_features=features)
    corpus = wiring.read_corpus(data)
    languages = choose(config.languages or (ALL,), corpus.languages, corpus.name, with_pivot=True)
    corpus = wiring.restrict(corpus, list(dict.fromkeys((*languages, *(_language(r) for _, r in records), PIVOT))))
    _check_data(corpus.fingerprints, records)
    test = _named(corpus.splits.get("test") or corpus.splits["all"], first.split["test"])
    towers = wiring.load_towers(model, with_image=data.image_features is None)
    _check_base(towers.fingerprints, records)
    images = wiring.features_of(corpus, [test], towers, data, _device(config), on_event)[0]
    scores = _scores(config, records, towers, test, images, languages, on_event)
    recalls = [{s.language: s.before for s in scores}]
    after = [{s.language: s.before if s.after is None else s.after for s in scores}]
    return EvalResult(corpus.name, corpus.synthetic, len(test.images), tuple(scores), spread(recalls), spread(after))


def _scores(
    config: EvalConfig, records: Runs, towers: wiring.Towers, test: Split, images: Tensor,
    languages: Sequence[str], on_event: OnEvent,
) -> list[LanguageScore]:  # fmt: skip
    from xpet.methods.stack import build_stack

    method = _method_config(records[0][1].config["method"])
    if method.name == "soft-prompt":
        towers.text.tokenizer.reserve(records[0][1].delta["prompt.soft_embeddings"].shape[0])
        method = replace(method, tokens=records[0][1].delta["prompt.soft_embeddings"].shape[0])
    stack = build_stack(towers.text.tower, method, [1]).to(_device(config))
    encode = measure.encoder(stack.tower, towers.text.tokenizer)
    best = _best_per_language(records)
    scores = []
    for done, language in enumerate(languages, start=1):
        with stack.bare():
            score = LanguageScore(language, measure.recall(encode, test.captions[language], "target", images))
        if language in best:
            path, record = best[language]
            slot = ROUTINES[record.config["run"]["routine"]].evaluation
            stack.load(0, record.delta)
            with stack.one(0):
                after = measure.recall(encode, test.captions[language], slot, images)
            score = replace(score, after=after, text=slot, run=str(path))
        scores.append(score)
        on_event(Progress("evaluating", done, len(languages), language))
    return scores


def _best_per_language(records: Runs) -> dict[str, tuple[Path, RunRecord]]:
    """Of several runs of a language, the one with the best validation MRR; the first one wins ties."""
    best: dict[str, tuple[Path, RunRecord]] = {}
    for path, record in records:
        language = _language(record)
        if language not in best or _validation(record) > _validation(best[language][1]):
            best[language] = (path, record)
    return best


def _validation(record: RunRecord) -> float:
    return float(record.metrics["validation"].get("val_mrr", float("-inf")))


def _language(record: RunRecord) -> str:
    return str(record.config["run"]["language"])


def _read(path: Path) -> RunRecord:
    """A run directory with everything in it that is needed here; raises DataError, ModelError."""
    record = read_run(path)
    try:
        for name, kind in (("run", RunConfig), ("model", ModelConfig), ("data", DataConfig), ("method", MethodConfig)):
            kind(**record.config[name])
        needed = (record.split["test"], record.environment["fingerprints"], record.environment["data"])
        ROUTINES[record.config["run"]["routine"]], record.metrics["validation"], *needed  # noqa: B018
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: config.json or its fellows lack or add something ({error}); train it again") from None
    return record


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


def _check_base(found: dict[str, str | None], records: Runs) -> None:
    for path, record in records:
        for which, expected in record.environment["fingerprints"].items():
            if expected is not None and found[which] is not None and found[which] != expected:
                name = record.environment["towers"][which]
                raise ModelError(
                    f"{path} was trained on another {which} tower: expected weights {expected[:12]}, found "
                    f"{str(found[which])[:12]} in '{name}'; restore that checkpoint or train again"
                )


def _check_data(found: Any, records: Runs) -> None:
    for path, record in records:
        expected = record.environment["data"]
        changed = [name for name, digest in expected.items() if name in found and found[name] != digest]
        if changed:
            raise DataError(f"{path} was trained on other captions: changed since then: {', '.join(changed[:3])}")


def _named(split: Split, names: Sequence[str]) -> Split:
    place = {name: i for i, name in enumerate(split.images)}
    missing = [name for name in names if name not in place]
    if missing:
        raise DataError(f"expected the run's test images in the data, found {len(missing)} missing: {missing[:3]}")
    return split.take([place[name] for name in names])


def _method_config(fields: dict[str, Any]) -> MethodConfig:
    tuples: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    return MethodConfig(**tuples)
