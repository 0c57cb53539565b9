"""Finds each option's value and its source: flags beat environment variables, these beat files, files beat defaults."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from xpet.cli.command import Command
from xpet.cli.config_file import FileTable, table_for
from xpet.cli.switches import Switches
from xpet.core.config.options import OptionField, misplaced, options_of, values_of
from xpet.core.errors import ConfigError, quoted
from xpet.core.paths import exists

FLAG, DEFAULT = "flag", "default"
TOML = ".toml"
VARIABLES, CACHE = "XPET_", "XPET_CACHE"
"""How environment variables of xpet begin, and the one that is no option."""


@dataclass(frozen=True)
class Setting:
    """The value of an option, and its source: `flag`, the name of an environment variable or file, or `default`."""

    value: Any
    source: str


@dataclass(frozen=True)
class Request:
    """A command with the settings that were given for it, by option, and the configuration that they make.

    `base` is the configuration of an earlier command that the settings change; None without one. `checked` is `config`
    with every default filled in. `left_out` are options of files and variables whose owner is not chosen, with their
    source.
    """

    command: Command
    settings: Mapping[str, Setting]
    base: Any
    config: Any
    checked: Any
    left_out: Mapping[str, str]

    def __getitem__(self, key: str) -> Any:
        """The value of an option; its default where it was not given."""
        return self.settings[key].value if key in self.settings else self.command.entries[key].value

    def is_typed(self, key: str) -> bool:
        """Whether an option was given as a flag."""
        return key in self.settings and self.settings[key].source == FLAG

    @property
    def sources(self) -> dict[str, list[str]]:
        """The files and variables that settings come from, each with the options it sets."""
        options: dict[str, list[str]] = {}
        for key, setting in self.settings.items():
            if setting.source not in (FLAG, DEFAULT):
                options.setdefault(setting.source, []).append(key)
        return options


def read(command: Command, commands: Sequence[str], given: Mapping[str, Any]) -> Request:
    """The request made of what was typed (`given`, by parameter), environment variables and configuration files.

    Raises ConfigError for unknown options and bad values, naming where they stand.
    """
    flags = {key: Setting(value, FLAG) for key, value in command.typed(given).items()}
    if "status" in flags:
        return _status(command, flags)
    if "resume" in flags:
        flags = _resumed(flags)
    path = flags["config"].value if "config" in flags else None
    base = None
    if path is not None and not path.endswith(TOML):
        base = _stored(command, path)
        lower = {key: Setting(value, path) for key, value in values_of(base, type(base)).items() if key != "out"}
    else:
        lower = dict(_from_file(command, table_for(command.name, commands, path)))
    settings = {**lower, **dict(_from_environment(command, commands)), **flags}
    settings = _without(command, settings, _rivals(command, settings), base)
    unused, wrong = _misplaced(command, settings)
    left_out = {key: settings[key].source for key in sorted(unused) if settings[key].source != FLAG}
    settings = _without(command, settings, unused, base)
    config, checked = _built(command, settings, base)
    if wrong:
        raise ConfigError(*wrong)
    _check_rivals(command, flags)  # last: a command that has its own words for it says them
    return Request(command, settings, base, config, checked, {} if base is not None else left_out)


def _status(command: Command, flags: Mapping[str, Setting]) -> Request:
    """The request of `--status FOLDER`, which no setting of a training belongs to: files and variables are not read."""
    general = {entry.key for entry in options_of(Switches)} - {"config"}
    beside = [f"--{key}" for key in flags if key != "status" and key not in general]
    if beside:
        raise ConfigError(f"--status {flags['status'].value}: expected it without {' and '.join(beside)}, found both")
    config = command.build({}, None)
    return Request(command, flags, None, config, config, {})


def _resumed(flags: Mapping[str, Setting]) -> dict[str, Setting]:
    """The flags with what `--resume FOLDER` stands for: its stored configuration, and the folder as output."""
    folder, beside = flags["resume"], [f"--{key}" for key in ("config", "out", "overwrite") if key in flags]
    if beside:
        raise ConfigError(f"--resume {folder.value}: expected it without {' and '.join(beside)}, found both")
    from xpet.core.rundir import SWEEP, UNFINISHED, unfinished_folder

    out = Path(folder.value)
    if exists(unfinished_folder(out.parent) / SWEEP):  # a phase: its chain goes on
        out = out.parent
    unfinished = unfinished_folder(out)
    if not exists(unfinished / SWEEP) and out.name.endswith(UNFINISHED):
        out, unfinished = out.with_name(out.name.removesuffix(UNFINISHED)), out
    if not exists(unfinished / SWEEP):
        raise ConfigError(
            f"--resume {folder.value}: expected an output folder whose training was stopped, found no "
            f"{unfinished / SWEEP}"
        )
    return {**flags, "config": Setting(str(unfinished), FLAG), "out": Setting(str(out), FLAG)}


def _stored(command: Command, path: str) -> Any:
    """The configuration that an earlier command stored; raises ConfigError where the command stores none."""
    if command.stored is None:
        raise ConfigError(f"--config {path}: xpet {command.name} takes a {TOML} file: it stores no configuration")
    return command.stored(path)


def _from_environment(command: Command, commands: Sequence[str]) -> Iterator[tuple[str, Setting]]:
    """Settings of variables such as XPET_ALIGN_LR; an empty one counts as not set, those of other commands too."""
    known = {command.variable(key): entry for key, entry in command.entries.items() if entry.option.stored}
    others = tuple(f"{VARIABLES}{name.upper()}_" for name in (*commands, "test") if name != command.name)
    for name, text in os.environ.items():
        if not name.startswith(VARIABLES) or name.startswith(others) or name == CACHE or text == "":
            continue
        if name not in known:
            key = name.removeprefix(command.variable("")).replace("_", "-").lower()
            raise ConfigError(_unknown(command, "environment variable", name, key, [*known, CACHE]))
        yield known[name].key, Setting(known[name].kind.parse(name, text), name)


def _from_file(command: Command, table: FileTable | None) -> Iterator[tuple[str, Setting]]:
    if table is None:
        return
    known = [key for key, entry in command.entries.items() if entry.option.stored]
    for key, value in table.values.items():
        if key not in known:
            raise ConfigError(f"{table.source}: {_unknown(command, 'option', key, key, known)}")
        yield key, Setting(command.entries[key].kind.from_toml(f"{table.source} {key}", value), table.source)


def _unknown(command: Command, what: str, name: str, key: str, known: Sequence[str]) -> str:
    """The problem text for a name (of option `key`) that sets no option: why not, or the nearest that does."""
    if key in command.entries:
        return f"{what} {quoted(name)}: --{key} is only typed; leave it out here"
    if key.removeprefix("no-") in command.entries:
        return f"unknown {what} {quoted(name)}; switch {key.removeprefix('no-')} off in place of it"
    close = get_close_matches(name, known, n=1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"unknown {what} {quoted(name)}; {hint}xpet {command.name} --help-all shows every option"


def _rivals(command: Command, settings: Mapping[str, Setting]) -> set[str]:
    """The options that one of a stronger source displaces: a typed `--steps` displaces `epochs` of a file."""

    def rank(setting: Setting) -> int:
        return 2 if setting.source == FLAG else int(setting.source.startswith(command.variable("")))

    return {
        rival
        for key, setting in settings.items()
        for rival in command.entries[key].option.instead_of
        if rival in settings and rank(settings[rival]) < rank(setting)
    }


def _check_rivals(command: Command, flags: Mapping[str, Setting]) -> None:
    """Raise ConfigError where two options are typed that each stand in place of the other."""
    for key in flags:
        for rival in command.entries[key].option.instead_of:
            if rival in flags and key in command.entries[rival].option.instead_of:
                raise ConfigError(f"--{key} and --{rival}: expected one of them, found both")


def _misplaced(command: Command, settings: Mapping[str, Setting]) -> tuple[set[str], list[str]]:
    """The options whose owner is not chosen, and the problems of those of them that were typed."""
    entries = command.entries.values()
    given = {entry.key: entry.value for entry in entries if entry.value is not None}
    given |= {key: setting.value for key, setting in settings.items() if setting.value is not None}
    by_owner = misplaced(entries, given, settings)
    problems = []
    for owner, fields in by_owner.items():
        typed = [entry.flag for entry in fields if settings[entry.key].source == FLAG]
        problems += [owner.problem(typed, given)] if typed else []
    return {entry.key for fields in by_owner.values() for entry in fields}, problems


def _without(
    command: Command, settings: Mapping[str, Setting], keys: Collection[str], base: Any
) -> dict[str, Setting]:  # fmt: skip
    """The settings without those of `keys` that were not typed.

    Where a stored configuration (`base`) lies below, these get their defaults, so that its values do not come back.
    """
    remaining = {key: setting for key, setting in settings.items() if setting.source == FLAG or key not in keys}
    if base is None:
        return remaining
    return {**{key: Setting(command.entries[key].value, DEFAULT) for key in keys if key in settings}, **remaining}


def _built(command: Command, settings: Mapping[str, Setting], base: Any) -> tuple[Any, Any]:
    """The configuration that settings make, as given and as checked.

    Raises ConfigError; a problem caused by a file or variable names the setting there.
    """
    problems = _problems(command, settings, base)
    if problems:
        raise ConfigError(*(problem + _blame(command, settings, base, problem) for problem in problems))
    config = command.build({key: setting.value for key, setting in settings.items()}, base)
    return config, command.check(config)


def _problems(command: Command, settings: Mapping[str, Setting], base: Any) -> tuple[str, ...]:
    """The problems of the configuration that settings make."""
    try:
        command.check(command.build({key: setting.value for key, setting in settings.items()}, base))
    except ConfigError as error:
        return error.problems
    return ()


def _blame(command: Command, settings: Mapping[str, Setting], base: Any, problem: str) -> str:
    """The settings of files and variables that cause a problem, in words: those without which it is gone."""
    guilty = [
        f"{setting.source} {key}" if "[" in setting.source else setting.source
        for key, setting in settings.items()
        if setting.source != FLAG
        and problem not in _problems(command, {k: s for k, s in settings.items() if k != key}, base)
    ]
    return f" (set by {', '.join(dict.fromkeys(guilty))})" if guilty else ""


def fields_of(command: Command) -> list[OptionField]:
    """The options of a command that `--show-config` shows: all but those about configurations themselves."""
    return [entry for key, entry in command.entries.items() if key not in ("config", "show-config")]
