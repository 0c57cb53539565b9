"""Run directories as `xpet eval` and others read them: checked, fitting together, the best setting per language."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from xpet.core.captions import Split
from xpet.core.config import DEMO, DataConfig, EvalConfig, MethodConfig, ModelConfig
from xpet.core.errors import ConfigError, DataError, ModelError
from xpet.core.pack import is_pack, read_pack
from xpet.core.routines import ROUTINES, Routine
from xpet.core.rundir import RunRecord, find_runs, read_run
from xpet.jobs.results.align import RunResult
from xpet.jobs.shared.best_setting import choose_setting
from xpet.jobs.shared.corpus import captions_digest
from xpet.jobs.shared.foreign_modules import is_foreign, read_foreign
from xpet.jobs.shared.run_check import check_record
from xpet.jobs.shared.towers import Towers

Runs = Sequence[tuple[Path, RunRecord]]
Alike = Mapping[str, Callable[[RunRecord], object]]

SAME_SPLIT: Alike = {
    "data": lambda record: record.config["data"]["name"],
    "test split": lambda record: record.split["test"],
}
"""What must be equal in all runs that stand for one split."""
SAME_DATA: Alike = {"base": lambda record: record.environment["fingerprints"], **SAME_SPLIT}
"""What must be equal in all runs that share a table."""
SAME_METHOD: Alike = {**SAME_DATA, "method": lambda record: record.config["method"]}
"""The same for runs that share a stack."""


def read_runs(
    folders: Sequence[str],
    languages: Sequence[str] | None = None,
    alike: Alike = SAME_METHOD,
    remedy: str = "evaluate them one at a time",
) -> Runs:
    """All runs of the folders (a sweep's folder holds many) and language packs, each with a path that names it.

    `languages` are those that modules made elsewhere stand for, None: any; see `foreign_modules`. `alike` are the
    things in which runs must not differ, and `remedy` what else to do. Raises DataError, ModelError, also for unlike
    ones.
    """
    records = [found for folder in folders for found in _found(Path(folder), languages)]
    _check_together(records, alike, remedy)
    return records


def _found(path: Path, languages: Sequence[str] | None) -> Runs:
    """The runs of a folder, a pack or a module made elsewhere."""
    if not is_pack(path) and is_foreign(path):
        return read_foreign(path, languages)
    if path.is_file():
        return [(path / one.name, _checked(path / one.name, one.record)) for one in read_pack(path)]
    if is_pack(path.parent):  # one language of a pack: languages.xpet/tr
        return _of_pack(path.parent, path.name)
    return [(folder, _checked(folder, read_run(folder))) for folder in find_runs(path)]


def _of_pack(pack: Path, language: str) -> Runs:
    found = _found(pack, None)
    chosen = [(path, record) for path, record in found if path.name == language]
    if not chosen:
        raise DataError(f"{pack}: expected one of {', '.join(path.name for path, _ in found)}, found {language}")
    return chosen


def trained_on(config: EvalConfig, record: RunRecord) -> tuple[ModelConfig, DataConfig]:
    """Towers and data of a run, with the places the user gives now; raises ConfigError for other data."""
    model, data = ModelConfig(**record.config["model"]), DataConfig(**record.config["data"])
    asked = config.data
    for what, mine, theirs in (("data set", asked.name, data.name), ("variant", asked.variant, data.variant)):
        if mine and data.name and mine != theirs:
            raise ConfigError(f"the runs were trained on {what} '{theirs}': expected that or nothing, found '{mine}'")
    places = ("root", "image_features", "translations")
    given = {name: value for name in places if (value := getattr(asked, name))}
    if not data.name:  # made elsewhere: of its images nothing is known
        data, given = asked, {"name": asked.name or DEMO}
    precision = config.model.feature_precision
    model = ModelConfig(
        config.model.text or model.text or DEMO,
        config.model.image or model.image,
        model.feature_precision if precision == ModelConfig.feature_precision else precision,
    )
    return model, replace(data, **given)


def chosen_runs(records: Runs) -> dict[str, list[tuple[Path, RunRecord]]]:
    """Per language the runs (one a seed) of the setting `align` would choose, best first."""
    by_folder: dict[tuple[str, str], tuple[Path, RunRecord]] = {}
    results: dict[str, list[RunResult]] = {}
    for path, record in records:
        by_folder[language_of(record), str(path)] = (path, record)
        results.setdefault(language_of(record), []).append(_result(path, record))
    _check_different(records)
    select = records[0][1].config["fit"]["select"]
    return {lang: [by_folder[lang, r.folder] for r in choose_setting(runs, select)] for lang, runs in results.items()}


def _check_different(records: Runs) -> None:
    """Two runs that differ in neither language, setting nor seed cannot be told apart in a table."""
    seen: dict[object, Path] = {}
    for path, record in records:
        result = _result(path, record)
        other = seen.setdefault((result.language, result.setting, result.seed), path)
        if other != path:
            raise DataError(
                f"{other} and {path} are runs of the same language, setting and seed: expected one of them; "
                "to compare them: xpet eval --compare"
            )


def stored_bytes(delta: Mapping[str, Any]) -> int:
    """Bytes of a module's numbers."""
    return sum(value.numel() * value.element_size() for value in delta.values())


def language_of(record: RunRecord) -> str:
    """The language a run was trained for."""
    return str(record.config["run"]["language"])


def routine_of(record: RunRecord) -> Routine:
    """The routine of a run."""
    return ROUTINES[record.config["run"]["routine"]]


def method_of(record: RunRecord, towers: Towers) -> MethodConfig:
    """The run's method; a soft prompt is as long as it was trained, and gets its room in the position table."""
    method = stored_method(record)
    prompt = record.delta.get("prompt.soft_embeddings")
    if prompt is None:
        return method
    towers.text.tokenizer.reserve(len(prompt))
    return replace(method, tokens=len(prompt))


def stored_method(record: RunRecord) -> MethodConfig:
    """The run's method as it was asked for."""
    known: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in record.config["method"].items()}
    return MethodConfig(**known)


def check_base(towers: Towers, records: Runs) -> None:
    """The towers must be those the runs were trained on; raises ModelError."""
    for path, record in records:
        for which, expected in record.environment["fingerprints"].items():
            found = towers.fingerprints.get(which)
            if None not in (expected, found) and found != expected:
                raise ModelError(
                    f"{path} was trained on another {which} tower: expected weights {expected[:12]}, found "
                    f"{str(found)[:12]} in '{towers.names[which]}'; restore that checkpoint or train again"
                )


def check_captions(test: Split, records: Runs) -> None:
    """The test captions of every run's language must be those it was measured on; raises DataError."""
    changed = {
        language
        for language, record in ((language_of(record), record) for _, record in records)
        if language in test.captions
        and record.environment["test_captions"]
        not in (None, captions_digest(test.captions[language], ("target", routine_of(record).evaluation)))
    }
    if changed:
        raise DataError(
            f"the test captions of {', '.join(sorted(changed))} changed since the runs were trained: "
            "restore them or train again"
        )


def named_images(split: Split, names: Sequence[str]) -> Split:
    """The split restricted to images by name, however that is written; raises DataError where some are gone."""
    from xpet.data.images import renamed

    place = {name: i for i, name in enumerate(split.images)}
    names = renamed(names, split.images)
    missing = [name for name in names if name not in place]
    if missing:
        raise DataError(f"expected the run's test images in the data, found {len(missing)} missing: {missing[:3]}")
    return split.take([place[name] for name in names])


def _checked(path: Path, record: RunRecord) -> RunRecord:
    check_record(path, record)
    return record


def _result(path: Path, record: RunRecord) -> RunResult:
    """What the run measured when it was trained; raises TypeError when something is missing."""
    names = {field.name for field in fields(RunResult)}
    known = {name: value for name, value in record.metrics.items() if name in names}
    return RunResult(**{**known, "folder": str(path)})


def _check_together(records: Runs, alike: Alike, remedy: str) -> None:
    """Runs used together must not differ in what is named; the error names both."""
    first_path, first = records[0]
    for path, record in records[1:]:
        for what, of in alike.items():
            if of(record) != of(first):
                raise DataError(f"{path} and {first_path} differ in {what}: {remedy}")
