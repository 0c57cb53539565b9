"""Reads runs from folders, packs and other software, checks that they fit together, and chooses the best of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from xpet.core.captions import Split
from xpet.core.config import DEMO, DataConfig, EvalConfig, MethodConfig, ModelConfig
from xpet.core.errors import ConfigError, DataError, ModelError
from xpet.core.language_pack import is_pack, read_pack
from xpet.core.run_record import RunRecord, RunResult
from xpet.core.rundir import find_runs, read_run
from xpet.jobs.shared.best_setting import choose_setting
from xpet.jobs.shared.corpus import captions_digest
from xpet.jobs.shared.foreign_modules import is_foreign, read_foreign
from xpet.jobs.shared.towers import Towers

Runs = Sequence[tuple[Path, RunRecord]]
"""Runs, each with the path that names it in messages."""
Alike = Mapping[str, Callable[[RunRecord], object]]
"""What must be equal in runs that are used together: its name in messages -> its value in a record."""

SAME_SPLIT: Alike = {
    "data": lambda record: record.data.name,
    "test split": lambda record: record.split.test,
}
"""For runs of which one stands for the data and split of all."""
SAME_DATA: Alike = {"base": lambda record: record.environment.fingerprints, **SAME_SPLIT}
"""For runs whose figures stand in one table."""
SAME_METHOD: Alike = {**SAME_DATA, "method": lambda record: record.method}
"""For runs whose modules are attached to one tower."""


def read_runs(
    folders: Sequence[str],
    languages: Sequence[str] | None = None,
    alike: Alike = SAME_METHOD,
    remedy: str = "evaluate them one at a time",
) -> Runs:
    """All runs of the folders (a sweep's folder holds many) and language packs, each with a path that names it.

    `languages` are those that modules made elsewhere are used for, None: any; see `foreign_modules`. Runs must not
    differ in what `alike` says; `remedy` is what the error then advises. Raises ConfigError, DataError and ModelError.
    """
    records = [run for folder in folders for run in _runs_at(Path(folder), languages)]
    _check_together(records, alike, remedy)
    return records


def _runs_at(path: Path, languages: Sequence[str] | None) -> Runs:
    """The runs of a folder, a pack or a module made elsewhere."""
    if not is_pack(path) and is_foreign(path):
        return read_foreign(path, languages)
    if path.is_file():
        return [(path / entry.name, entry.record) for entry in read_pack(path)]
    if is_pack(path.parent):  # one language of a pack: languages.xpet/tr
        return _runs_of_language(path.parent, path.name)
    return [(folder, read_run(folder)) for folder in find_runs(path)]


def _runs_of_language(pack: Path, language: str) -> Runs:
    """The run of one language of a pack; raises DataError where it has none."""
    entries = read_pack(pack)
    chosen = [(pack / entry.name, entry.record) for entry in entries if entry.name == language]
    if not chosen:
        raise DataError(f"{pack}: expected one of {', '.join(entry.name for entry in entries)}, found {language}")
    return chosen


def trained_on(config: EvalConfig, record: RunRecord) -> tuple[ModelConfig, DataConfig]:
    """Towers and data of a run, at the paths that the user gives now; raises ConfigError where other data is named."""
    model, data = record.model, record.data
    given = config.data
    for what, name, trained in (("data set", given.name, data.name), ("variant", given.variant, data.variant)):
        if name and data.name and name != trained:
            raise ConfigError(f"the runs were trained on {what} '{trained}': expected that or nothing, found '{name}'")
    paths = {name: path for name in ("root", "image_features", "translations") if (path := getattr(given, name))}
    if not data.name:  # made elsewhere: of its images nothing is known
        data, paths = given, {"name": given.name or DEMO}
    precision = config.model.feature_precision
    model = ModelConfig(
        config.model.text or model.text or DEMO,
        config.model.image or model.image,
        model.feature_precision if precision == ModelConfig.feature_precision else precision,
    )
    return model, replace(data, **paths)


def chosen_runs(records: Runs) -> dict[str, list[tuple[Path, RunRecord]]]:
    """By language, the runs (one per seed) of the setting that `align` would choose, best first. Raises DataError."""
    by_folder: dict[tuple[str, str], tuple[Path, RunRecord]] = {}
    results: dict[str, list[RunResult]] = {}
    for path, record in records:
        by_folder[record.language, str(path)] = (path, record)
        results.setdefault(record.language, []).append(replace(record.metrics, folder=str(path)))
    _check_different(records)
    select = records[0][1].fit.select
    return {lang: [by_folder[lang, r.folder] for r in choose_setting(runs, select)] for lang, runs in results.items()}


def _check_different(records: Runs) -> None:
    """Raise DataError for two runs with the same language, setting and seed: a table cannot tell them apart."""
    seen: dict[object, Path] = {}
    for path, record in records:
        result = record.metrics
        other = seen.setdefault((result.language, result.setting, result.seed), path)
        if other != path:
            raise DataError(
                f"{other} and {path} are runs of the same language, setting and seed: expected one of them; "
                "to compare them: xpet eval --compare"
            )


def method_of(record: RunRecord, towers: Towers) -> MethodConfig:
    """The run's method; a soft prompt is as long as the trained one, and the tokenizer keeps room for it."""
    method = record.method
    prompt = record.delta.get("prompt.soft_embeddings")
    if prompt is None:
        return method
    towers.text.tokenizer.reserve(len(prompt))
    return replace(method, tokens=len(prompt))


def check_base(towers: Towers, records: Runs) -> None:
    """The towers must be those the runs were trained on; raises ModelError."""
    check_fingerprints(towers.fingerprints, towers.names, records)


def check_fingerprints(fingerprints: Mapping[str, str | None], names: Mapping[str, str | None], records: Runs) -> None:
    """The towers with these fingerprints and names must be those the runs were trained on; raises ModelError.

    A fingerprint that is not known, here or in the run, is not compared.
    """
    for path, record in records:
        for which, expected in record.environment.fingerprints.items():
            loaded = fingerprints.get(which)
            if expected is not None and loaded is not None and loaded != expected:
                raise ModelError(
                    f"{path} was trained on another {which} tower: expected weights {expected[:12]}, found "
                    f"{loaded[:12]} in '{names[which]}'; restore that checkpoint or train again"
                )


def check_captions(test: Split, records: Runs) -> None:
    """The test captions of every run's language must be those it was measured on; raises DataError."""
    changed = {
        record.language
        for _, record in records
        if record.language in test.captions
        and record.environment.test_captions
        not in (None, captions_digest(test.captions[record.language], ("target", record.routine.evaluation)))
    }
    if changed:
        raise DataError(
            f"the test captions of {', '.join(sorted(changed))} changed since the runs were trained: "
            "restore them or train again"
        )


def named_images(split: Split, names: Sequence[str]) -> Split:
    """The split restricted to the named images, in whatever spelling; raises DataError where some are missing."""
    from xpet.data.images import match_spelling

    index = {name: i for i, name in enumerate(split.images)}
    names = match_spelling(names, split.images)
    missing = [name for name in names if name not in index]
    if missing:
        raise DataError(f"expected the run's test images in the data, found {len(missing)} missing: {missing[:3]}")
    return split.take([index[name] for name in names])


def _check_together(records: Runs, alike: Alike, remedy: str) -> None:
    """Raise DataError, naming both, for two runs that differ in what `alike` says."""
    first_path, first = records[0]
    for path, record in records[1:]:
        for what, value_in in alike.items():
            if value_in(record) != value_in(first):
                raise DataError(f"{path} and {first_path} differ in {what}: {remedy}")
