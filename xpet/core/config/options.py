"""Options, declared where they belong: a field of a configuration carries what the command line needs to offer it.

To add an option is to add a field with `option(...)`: flag, help, environment variable, key of configuration files,
completion and parsing follow from it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from math import inf
from typing import Any

from xpet.core.choices import FITTED_METHODS
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
    """The values of another option that an option belongs to, as `--bottleneck` belongs to `--method adapter`.

    Where `values` is empty, any value will do but those in `but`. Beside the option `unless` nothing is checked: a run
    named by `--from`, for example, brings its method, which is read later.
    """

    option: str
    values: tuple[str, ...] = ()
    unless: str | None = None
    but: tuple[str, ...] = ()

    def has(self, given: Mapping[str, Any]) -> bool:
        """Whether an option of this owner may be given beside these values (by option)."""
        chosen = _chosen(given.get(self.option))
        fits = not self.values or bool(set(chosen) & set(self.values))
        return self.unless in given or bool(chosen and fits and not set(chosen) <= set(self.but))

    @property
    def in_words(self) -> str:
        """The owner as it would be typed."""
        return f"--{self.option} {' or '.join(self.values)}".rstrip()

    def problem(self, flags: Iterable[str], given: Mapping[str, Any]) -> str:
        """The problem with `flags` of this owner that are given beside other values."""
        flag, chosen = f"--{self.option}", _chosen(given.get(self.option))
        if self.but:
            found = f"{flag} {','.join(chosen)}"
            return f"{', '.join(flags)}: expected without {found}, which makes no use of it, found both; leave one out"
        remedy = f"; leave out or choose {flag} {self.values[0]}" if self.values else ""
        present = f"{flag} {','.join(chosen)}" if chosen and self.values else "none"
        return f"{', '.join(flags)}: expected with {self.in_words}, found {present}{remedy}"


@dataclass(frozen=True)
class Option:
    """An option of the command line.

    `flags` as they are typed, the long one first (none: a positional argument); `help` is one line: the meaning, and
    the unit where there is one. `default_text` says what holds unless the option is given, and why; None derives it
    from the field's default or the default preset. `choices` are completed. A `common` option is in the short help.
    Only what is `stored` may stand in configuration files and environment variables. Given as a flag, the option
    displaces those in `instead_of` that a file or variable sets. The `owner` is what it belongs to; None: everything.
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
    """A configuration of class `kind` inside another: which of its fields are options there.

    `changes` are attributes of `Option` that differ there, by field.
    """

    kind: type
    only: tuple[str, ...] | None
    without: tuple[str, ...]
    changes: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class OptionField:
    """An option and the field it fills.

    `key` is its name without dashes, `path` the field names that lead there from the configuration, `value` the
    field's default.
    """

    key: str
    path: tuple[str, ...]
    option: Option
    kind: ValueKind
    value: Any
    required: bool = False

    @property
    def flag(self) -> str:
        """The option as it is typed; of a switch that is on by default the `--no-` form."""
        if not self.option.flags:
            return self.key.upper()
        return f"--no-{self.key}" if self.is_negative else self.option.flags[0]

    @property
    def is_negative(self) -> bool:
        """Whether it is a switch that is on by default."""
        return self.kind is SWITCH and self.value is True

    @property
    def help(self) -> str:
        """The option's line of help: the method it belongs to, if any, then meaning and default."""
        owner = self.option.owner
        whose = f"{', '.join(owner.values)}: " if owner and owner.option == "method" and owner.values else ""
        default = self.option.default_text if self.option.default_text is not None else self._default()
        return f"{whose}{self.option.help}{f' [default: {default}]' if default else ''}"

    def _default(self) -> str:
        """The field's default in words; where the field leaves it to the preset, the default preset's."""
        name = self.path[-1]
        if self.value is not None:
            return _in_words(self.value, self.kind)
        alone = OF_ROUTINE["text"].get(name)
        usual = _in_words(getattr(DEFAULT, name, None), self.kind)
        return usual if alone is None else f"{usual}; routine text: {_in_words(alone, self.kind)}"


TRAINED = Owner("method", but=FITTED_METHODS, unless="from")
"""Owner of the options that are for training: not of methods that are fitted in closed form."""
TIMEOUT = Option(("--timeout",), "Minutes that several processes wait for one that gives no sign of life", SPEED)
"""The option of every configuration whose job several processes can share."""


def option(default: Any, flags: str, help: str, section: str, **more: Any) -> Any:  # noqa: A002
    """A field with an option: `flags` separated by blanks, `more` as in `Option`. Default MISSING: it is required."""
    return declared(default, Option(tuple(flags.split()), help, section, **more))


def declared(default: Any, record: Option) -> Any:
    """A field with an option that several configurations have in the same words."""
    return field(metadata={OWN: record}) if default is MISSING else field(default=default, metadata={OWN: record})


def group(
    kind: type, only: tuple[str, ...] | None = None, without: tuple[str, ...] = (), optional: bool = False,
    **changes: Mapping[str, Any],
) -> Any:  # fmt: skip
    """A field that holds a configuration of class `kind`, whose options (or `only` some) are offered as well.

    `changes` are attributes of `Option` that differ here, by field. An `optional` field is None unless one of its
    options is given.
    """
    metadata = {OWN: OptionGroup(kind, only, without, changes)}
    return field(default=None, metadata=metadata) if optional else field(default_factory=kind, metadata=metadata)


def timeout_problems(minutes: float) -> list[str]:
    """What is wrong with a value of TIMEOUT."""
    return [] if 0 < minutes < inf else [f"timeout must be a positive number of minutes, found {minutes:g}"]


def options_of(kind: type, path: tuple[str, ...] = ()) -> Iterator[OptionField]:
    """Every option of a configuration class; those of a configuration inside it come where its field stands."""
    for each in fields(kind):
        record = each.metadata.get(OWN)
        if isinstance(record, OptionGroup):
            for inner in options_of(record.kind, (*path, each.name)):
                name = inner.path[len(path) + 1]
                if (record.only is None or name in record.only) and name not in record.without:
                    yield replace(inner, option=replace(inner.option, **record.changes.get(name, {})))
        elif record is not None:
            yield _entry(each, record, path)


def _entry(each: dataclasses.Field[Any], record: Option, path: tuple[str, ...]) -> OptionField:
    key = record.flags[0].removeprefix("--") if record.flags else each.name
    required = each.default is MISSING
    value = None if required else each.default
    return OptionField(key, (*path, each.name), record, record.kind or kind_of(each.type), value, required)


def made(kind: type, values: Mapping[str, Any], base: Any = None) -> Any:
    """A configuration of class `kind` from values by option; the rest is as in `base`, else the fields' defaults."""
    tree: dict[str, Any] = {}
    for entry in options_of(kind):
        if entry.key in values:
            branch = tree
            for name in entry.path[:-1]:
                branch = branch.setdefault(name, {})
            branch[entry.path[-1]] = values[entry.key]
    return _made_of_tree(kind, tree, base)


def _made_of_tree(kind: type, tree: Mapping[str, Any], base: Any) -> Any:
    """A configuration from values by field; those of a configuration inside it are a tree themselves."""
    changes = dict(tree)
    for each in fields(kind):
        record = each.metadata.get(OWN)
        if isinstance(record, OptionGroup) and each.name in tree:
            changes[each.name] = _made_of_tree(record.kind, tree[each.name], getattr(base, each.name, None))
    return kind(**changes) if base is None else replace(base, **changes)


def values_of(config: Any, kind: type) -> dict[str, Any]:
    """The values of a configuration by option of its class `kind`, but of none inside it that is None."""
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
    """Those of the options `keys` whose owner is not chosen, by owner.

    `given` are all values by option, with the defaults of the options that were not given.
    """
    by_owner: dict[Owner, list[OptionField]] = {}
    for entry in entries:
        owner = entry.option.owner
        if entry.key in keys and owner is not None and not owner.has(given):
            by_owner.setdefault(owner, []).append(entry)
    return by_owner


def problems_of(config: Any) -> list[str]:
    """The problems of a configuration's settings whose owner it does not choose, such as a setting of another method.

    Settings at their defaults are never wrong, and of TRAINED ones none is: in a stored plan all have their values.
    """
    entries, values = list(options_of(type(config))), values_of(config, type(config))
    keys = {entry.key for entry in entries if entry.key in values and values[entry.key] != entry.value}
    entries = [entry for entry in entries if entry.option.owner != TRAINED]
    given = {key: value for key, value in values.items() if value is not None}
    return [
        owner.problem((entry.flag for entry in owned), given)
        for owner, owned in misplaced(entries, given, keys).items()
    ]


def _chosen(value: Any) -> tuple[str, ...]:
    """The names that an option's value chooses."""
    if value is None or value == "":
        return ()
    return tuple(map(str, value)) if isinstance(value, tuple) else (str(value),)


def _in_words(value: Any, kind: ValueKind) -> str:
    """A value in words."""
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, tuple):
        return ",".join(_in_words(item, kind) for item in value)
    if kind is BYTES:
        return f"{value // 10**9}GB"
    return f"{value:g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
