"""`xpet align --from`: reads and checks the runs, pack or adapter that training goes on from."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from xpet.core.config import AlignPlan, MethodConfig
from xpet.core.errors import ConfigError, DataError
from xpet.jobs.shared.run_records import Runs, chosen_runs, read_runs

if TYPE_CHECKING:
    from xpet.core.run_record import RunRecord
    from xpet.jobs.shared.corpus import Parts


def read_starts(config: AlignPlan) -> Runs:
    """The runs of `config.start`; none where training starts from the base. Raises DataError, ModelError."""
    return read_runs([config.start], config.languages) if config.start is not None else []


def with_stored_method(config: AlignPlan, records: Runs) -> AlignPlan:
    """The configuration with the method of the runs, and `--train` parts added to those they train.

    Raises ConfigError when other method settings were asked for.
    """
    from xpet.methods.embeddings import PART
    from xpet.methods.table import find_method

    if not records:
        return config
    stored, requested = records[0][1].method, config.method
    if find_method(stored).closed_form is not None:
        raise ConfigError(
            f"--from {config.start}: expected a run that was trained, found one of method '{stored.name}', which is "
            "fitted anew each time; fold it by xpet merge and train on that --model"
        )
    trained = stored.train if stored.train is not None else find_method(stored).train
    parts = tuple(dict.fromkeys((*trained, *(requested.train or ()))))
    rank = stored.embedding_rank if PART in trained else requested.embedding_rank
    method = stored if parts == trained else replace(stored, train=parts, embedding_rank=rank)
    if requested not in (
        replace(MethodConfig(), train=requested.train, embedding_rank=requested.embedding_rank),
        method,
        stored,
    ):
        raise ConfigError(
            f"--from {config.start}: expected no method settings, as those of the run ({stored.name}) are kept, found "
            f"{requested.name} with others"
        )
    return replace(config, method=method)


def choose_starts(config: AlignPlan, records: Runs) -> dict[tuple[str, int], RunRecord]:
    """By (language, seed), the run to go on from: of the best setting the run with that seed, else its best run.

    Raises ConfigError for a language without a run.
    """
    if not records:
        return {}
    best = {language: [record for _, record in runs] for language, runs in chosen_runs(records).items()}
    missing = [language for language in config.languages if language not in best]
    if missing:
        raise ConfigError(
            f"--from {config.start}: expected runs for {', '.join(missing)}, found only {', '.join(best)}; leave "
            f"{'it' if len(missing) == 1 else 'them'} out of --lang"
        )
    return {
        (language, seed): next((run for run in best[language] if run.run.seed == seed), best[language][0])
        for language in config.languages
        for seed in config.seeds
    }


def check_unseen(config: AlignPlan, records: Runs, parts: Parts) -> None:
    """Raise DataError where a run was trained on test or validation pictures, or chosen on test pictures."""
    from xpet.data.images import canonical

    held_back = {
        "test": set(map(canonical, parts.test.images)),
        "validation": set(map(canonical, parts.validation.images)),
    }
    for path, record in records:
        same_data = record.data.name == config.data.name
        train, validation = (set(map(canonical, getattr(record.split, part))) for part in ("train", "validation"))
        seen = {"test": train | validation, "validation": train}
        for part, names in held_back.items():
            shared = names & seen[part]
            if same_data and shared:
                raise DataError(
                    f"--from {path}: expected {part} pictures it has not seen, found {len(shared)} it was trained or "
                    "chosen with; use its own --shots, --val-shots and --split-seed"
                )
