"""Options, declared where they belong: a field of a configuration carries what the command line needs to offer it.

To add an option is to add a field with `option(...)`: flag, help, environment variable, key of configuration files,
completion and parsing follow from it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any

from xpet.core.config.kinds import BYTES, SWITCH, ValueKind, kind_of
from xpet.core.presets import DEFAULT, OF_ROUTINE

WHAT, MEASURED, TEXTS = "What to train", "What to measure", "Texts"
WHERE, OPTIMISATION, METHOD = (
    "Model and data",
    "Optimisation (comma lists are swept)",
    "Method settings (each says whose)",
)
TEXT, SPEED, OUTPUT = "Routine text", "Speed and memory", "Output"
STATISTICS, GATE = "Statistics", "Limits for CI (exit code 3)"
STORED, SEVERAL = "How weights are stored and compared", "Several languages in one"
DATA_SET, QUALITY, PACKAGES, SETTINGS = "A whole data set", "Quality", "Packages", "Settings"
RUNS = "Runs"
OWN = "option"
"""Key of a field's metadata."""


@dataclass(frozen=True)
class Owner:
    """Whose an option is: of another option's values (`--method adapter`), any of them where `values` is empty.

    With option `unless` given, the owner is not known before the work begins, and not checked.
    """

    option: str
    values: tuple[str, ...] = ()
    unless: str | None = None

    def has(self, given: Mapping[str, Any]) -> bool:
        """Whether the option belongs beside these values (by option)."""
        chosen = _chosen(given.get(self.option))
        return self.unless in given or bool(chosen and (not self.values or set(chosen) & set(self.values)))

    def problem(self, flags: Iterable[str], given: Mapping[str, Any]) -> str:
        """What is wrong with options (as they are typed) that do not belong beside the values."""
        flag, chosen = f"--{self.option}", _chosen(given.get(self.option))
        expected = f"{flag} {' or '.join(self.values)}".rstrip()
        remedy = f"; leave out or choose {flag} {self.values[0]}" if self.values else ""
        present = f"{flag} {','.join(chosen)}" if chosen and self.values else "none"
        return f"{', '.join(flags)}: expected with {expected}, found {present}{remedy}"


@dataclass(frozen=True)
class Option:
    """An option of the command line.

    `flags` as they are typed, the long one first (none: a positional argument); `help` is one line: the meaning, and
    the unit where there is one. `default_text` says what holds unless the option is given, and why; None derives it
    from the field's default or the default preset. `choices` are completed. A `common` option is in the short help.
    Only what is `stored` may stand in configuration files and environment variables. Given as a flag, the option
    displaces those in `instead_of` that a file or variable sets.
    """

    flags: tuple[str, ...]
    help: str
    section: str
    default_text: str | None = None
    kind: ValueKind | None = None
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    owner: Owner | None = None
    common: bool = False
    stored: bool = True
    instead_of: tuple[str, ...] = ()


@dataclass(frozen=True)
class OptionGroup:
    """A configuration inside another: which of its options are offered there, and in which other words."""

    kind: type
    only: tuple[str, ...] | None
    without: tuple[str, ...]
    words: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class OptionField:
    """An option and the field it fills: `path` leads there from the configuration; `key` is its name without dashes."""

    key: str
    path: tuple[str, ...]
    option: Option
    kind: ValueKind
    value: Any
    required: bool = False

    @property
    def flag(self) -> str:
        """The option as it is typed: a switch that is on by default by what turns it off."""
        if not self.option.flags:
            return self.key.upper()
        return f"--no-{self.key}" if self.is_negative else self.option.flags[0]

    @property
    def is_negative(self) -> bool:
        """Whether it is a switch that is on by default."""
        return self.kind is SWITCH and self.value is True

    @property
    def help(self) -> str:
        """Help's one line: whose it is where it belongs to a method, the meaning, the default."""
        owner = self.option.owner
        whose = f"{', '.join(owner.values)}: " if owner and owner.option == "method" else ""
        default = self.option.default_text if self.option.default_text is not None else self._default()
        return f"{whose}{self.option.help}{f' [default: {default}]' if default else ''}"

    def _default(self) -> str:
        """The field's default in words; where the field leaves it to the preset, the default preset's."""
        name = self.path[-1]
        if self.value is not None:
            return _told(self.value, self.kind)
        alone = OF_ROUTINE["text"].get(name)
        usual = _told(getattr(DEFAULT, name, None), self.kind)
        return usual if alone is None else f"{usual}; routine text: {_told(alone, self.kind)}"


def option(default: Any, flags: str, help: str, section: str, **more: Any) -> Any:  # noqa: A002
    """A field with an option; `flags` separated by blanks, `more` as in `Option`. MISSING: the field is required."""
    return declared(default, Option(tuple(flags.split()), help, section, **more))


def declared(default: Any, record: Option) -> Any:
    """A field with an option that several configurations have in the same words."""
    return field(metadata={OWN: record}) if default is MISSING else field(default=default, metadata={OWN: record})


def group(
    kind: type, only: tuple[str, ...] | None = None, without: tuple[str, ...] = (), optional: bool = False,
    **words: Mapping[str, Any],
) -> Any:  # fmt: skip
    """A field with a configuration of its own: its options, or some, with other words for some fields.

    An `optional` one is None unless one of its options is given.
    """
    metadata = {OWN: OptionGroup(kind, only, without, words)}
    return field(default=None, metadata=metadata) if optional else field(default_factory=kind, metadata=metadata)


def options_of(kind: type, path: tuple[str, ...] = ()) -> Iterator[OptionField]:
    """Every option of a configuration class, those of configurations inside it in their position."""
    for each in fields(kind):
        record = each.metadata.get(OWN)
        if isinstance(record, OptionGroup):
            for inner in options_of(record.kind, (*path, each.name)):
                name = inner.path[len(path) + 1]
                if (record.only is None or name in record.only) and name not in record.without:
                    yield replace(inner, option=replace(inner.option, **record.words.get(name, {})))
        elif record is not None:
            yield _entry(each, record, path)


def _entry(each: dataclasses.Field[Any], record: Option, path: tuple[str, ...]) -> OptionField:
    key = record.flags[0].removeprefix("--") if record.flags else each.name
    required = each.default is MISSING
    value = None if required else each.default
    return OptionField(key, (*path, each.name), record, record.kind or kind_of(each.type), value, required)


def made(kind: type, values: Mapping[str, Any], base: Any = None) -> Any:
    """A configuration of values by option; `base` or else the fields' defaults have the others."""
    tree: dict[str, Any] = {}
    for entry in options_of(kind):
        if entry.key in values:
            branch = tree
            for name in entry.path[:-1]:
                branch = branch.setdefault(name, {})
            branch[entry.path[-1]] = values[entry.key]
    return _grown(kind, tree, base)


def _grown(kind: type, tree: Mapping[str, Any], base: Any) -> Any:
    changes = dict(tree)
    for each in fields(kind):
        record = each.metadata.get(OWN)
        if isinstance(record, OptionGroup) and each.name in tree:
            changes[each.name] = _grown(record.kind, tree[each.name], getattr(base, each.name, None))
    return kind(**changes) if base is None else replace(base, **changes)


def values_of(config: Any, kind: type) -> dict[str, Any]:
    """The values of a configuration by the options of its class `kind`; those of one inside it that is None lack."""
    values = {}
    for entry in options_of(kind):
        inside = config
        for name in entry.path[:-1]:
            inside = getattr(inside, name) if inside is not None else None
        if inside is not None:
            values[entry.key] = getattr(inside, entry.path[-1])
    return values


def misplaced(
    entries: Iterable[OptionField], given: Mapping[str, Any], keys: Collection[str]
) -> dict[Owner, list[OptionField]]:
    """Those of the options `keys` that belong to something else than what is chosen, by owner.

    `given` are all values by option, defaults included where they choose something.
    """
    by_owner: dict[Owner, list[OptionField]] = {}
    for entry in entries:
        owner = entry.option.owner
        if entry.key in keys and owner is not None and not owner.has(given):
            by_owner.setdefault(owner, []).append(entry)
    return by_owner


def problems_of(config: Any) -> list[str]:
    """What is wrong with a configuration's settings that belong to something else than what it chooses.

    Settings at their defaults are never wrong.
    """
    entries, values = list(options_of(type(config))), values_of(config, type(config))
    keys = {entry.key for entry in entries if entry.key in values and values[entry.key] != entry.value}
    given = {key: value for key, value in values.items() if value is not None}
    return [
        owner.problem((p.flag for p in by_owner), given) for owner, by_owner in misplaced(entries, given, keys).items()
    ]


def _chosen(value: Any) -> tuple[str, ...]:
    """The names that an option's value chooses."""
    if value is None or value == "":
        return ()
    return tuple(map(str, value)) if isinstance(value, tuple) else (str(value),)


def _told(value: Any, kind: ValueKind) -> str:
    """A value in words."""
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, tuple):
        return ",".join(_told(item, kind) for item in value)
    if kind is BYTES:
        return f"{value // 10**9}GB"
    return f"{value:g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
