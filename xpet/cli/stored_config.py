"""What `--config` takes besides TOML files: a run of `xpet align` or a result of `xpet eval`, to do the same again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xpet.core.config import AlignConfig, EvalConfig
from xpet.core.config.stored import align_config, eval_config, sweep_config
from xpet.core.errors import ConfigError, DataError, one_line
from xpet.core.json_files import parsed
from xpet.core.regular_files import read_text


def of_run(path: str) -> AlignConfig:
    """The configuration of a run or an unfinished sweep, from its folder or a run's `config.json`.

    Raises ConfigError and DataError.
    """
    from xpet.core.run_record import SCHEMA
    from xpet.core.rundir import SWEEP, find_runs, read_sweep

    file = Path(path)
    if (file / SWEEP).is_file():
        return sweep_config(read_sweep(file), str(file / SWEEP))
    if file.is_dir():
        runs = find_runs(file)
        if len(runs) > 1:
            names = ", ".join(str(run.relative_to(file)) for run in runs[:5])
            raise ConfigError(f"--config {path}: expected one run, found {len(runs)}: name one of them, {names}")
        file = runs[0] / "config.json"
    document = _document(file)
    if document.get("schema") != SCHEMA:
        schema = str(document.get("schema"))
        raise DataError(f"{file}: expected schema {SCHEMA} of a run's config.json, found {schema:.60}")
    return align_config(document, str(file))


def of_result(path: str) -> EvalConfig:
    """The configuration of a result of `xpet eval --json`. Raises ConfigError and DataError."""
    return eval_config(_document(Path(path)), path)


def _document(file: Path) -> Mapping[str, Any]:
    try:
        document = parsed(read_text(file))
    except OSError as error:
        raise ConfigError(
            f"--config {file}: expected a configuration file, found none to read ({error.strerror})"
        ) from None
    except ValueError as error:
        raise DataError(
            f"{file}: expected a .toml file or a JSON document, found neither ({one_line(error)})"
        ) from None
    if not isinstance(document, dict):
        raise DataError(f"{file}: expected a JSON object, found {type(document).__name__}")
    return document
