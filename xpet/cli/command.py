"""What a command of xpet is; from its configurations' fields it makes the function whose parameters typer reads."""

from __future__ import annotations

import inspect
import keyword
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import typer

from xpet.core.config.kinds import REPEATED, SWITCH
from xpet.core.config.options import OptionField, options_of


@dataclass(frozen=True)
class Command:
    """A command of the command line.

    `summary` is one line, `purpose` says what the command is for and what to type first. `kinds` are the classes whose
    fields are its options, configurations first; `sections` the order of help. `build` makes the configuration from
    values by option, on top of a stored one where that is given. `check` fills in every default, or raises ConfigError.
    `stored` reads the configuration that an earlier command left, for `--config`.
    """

    name: str
    summary: str
    purpose: str
    examples: str
    sections: tuple[str, ...]
    kinds: tuple[type, ...]
    build: Callable[[Mapping[str, Any], Any], Any]
    check: Callable[[Any], Any]
    stored: Callable[[str], Any] | None = None

    @cached_property
    def entries(self) -> dict[str, OptionField]:
        """Every option by key; where two classes have the same key, the first one's counts."""
        entries: dict[str, OptionField] = {}
        for kind in self.kinds:
            for entry in options_of(kind):
                entries.setdefault(entry.key, entry)
        return entries

    def variable(self, key: str) -> str:
        """The environment variable of an option."""
        return f"XPET_{self.name}_{key}".replace("-", "_").upper()

    def typed(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Values by option of the command line's parameters; what was not typed is left out. Raises ConfigError."""
        by_parameter = {parameter_name(entry): entry for entry in self.entries.values()}
        return {
            by_parameter[name].key: _value(by_parameter[name], value)
            for name, value in given.items()
            if name in by_parameter and value is not None and value not in ([], ())
        }

    def function(self, run: Callable[[Mapping[str, Any]], None], **switches: Any) -> Callable[..., None]:
        """A function for typer, with a parameter for each option; it hands what was typed to `run`.

        `switches` are annotations of further parameters, whose callbacks typer calls by itself.
        """

        def command(**given: Any) -> None:
            run(given)

        parameters = [_parameter(entry) for entry in self.entries.values()]
        parameters += [_keyword(name, annotation, False) for name, annotation in switches.items()]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__doc__ = self.purpose
        return command


def _value(entry: OptionField, value: Any) -> Any:
    return not value if entry.is_negative else entry.kind.from_command_line(entry.flag, value)


def parameter_name(entry: OptionField) -> str:
    """The name of an option's parameter: `from_` for `--from`, `no_verify` for a switch that is on by default."""
    name = entry.flag.removeprefix("--").replace("-", "_").lower()
    return f"{name}_" if keyword.iskeyword(name) else name


def _parameter(entry: OptionField) -> inspect.Parameter:
    option, kind = entry.option, entry.kind
    name, read = parameter_name(entry), list[str] if kind is REPEATED else kind.typed
    more: dict[str, Any] = {"help": entry.help, "metavar": option.metavar or kind.metavar or None}
    if option.choices:
        more["autocompletion"] = completer(option.choices)
    if option.flags:
        info: Any = typer.Option(*_declarations(entry), rich_help_panel=option.section, **more)
        return _keyword(name, Annotated[read | None, info])
    info = typer.Argument(**more)
    required = inspect.Parameter.empty
    return (
        _keyword(name, Annotated[read, info], required)
        if entry.required
        else _keyword(name, Annotated[read | None, info])
    )


def _keyword(name: str, annotation: Any, default: Any = None) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _declarations(entry: OptionField) -> tuple[str, ...]:
    """An option's flags; a switch that files and the environment may set can be turned off as well."""
    first, *short = entry.option.flags
    if entry.kind is SWITCH and entry.option.stored:
        first = f"--no-{entry.key}/{first}" if entry.is_negative else f"{first}/--no-{entry.key}"
    return (first, *short)


def completer(known: tuple[str, ...]) -> Callable[[str], list[str]]:
    """A completer that offers known names, also behind a comma."""

    def complete(incomplete: str) -> list[str]:
        head, comma, last = incomplete.rpartition(",")
        return [head + comma + name for name in known if name.startswith(last)]

    return complete
