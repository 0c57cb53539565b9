"""Kinds of option values: how a value is typed on the command line, and how its text becomes the value."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from xpet.core.errors import ConfigError, quoted
from xpet.core.presets import ALL

T = TypeVar("T")
ON, OFF = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
"""Texts of a switch in an environment variable."""


@dataclass(frozen=True)
class ValueKind:
    """A kind of option value.

    `says` describes a value in messages; `metavar` stands for it in help. `parse(where, text)` turns a text into the
    value; `where` names the option or variable in the ConfigError it raises. `typed` is the type the command line
    reads, `toml` are the types a configuration file may hold; a `listed` kind may be a TOML list of these as well.
    """

    says: str
    metavar: str
    parse: Callable[[str, str], Any]
    typed: type = str
    toml: tuple[type, ...] = (str,)
    listed: bool = False

    def from_command_line(self, where: str, value: Any) -> Any:
        """The value of an option, from what typer read."""
        if self is REPEATED:
            return tuple(value)
        return self.parse(where, value) if isinstance(value, str) else value

    def from_toml(self, where: str, value: Any) -> Any:
        """The value of an option, from a TOML value; raises ConfigError, naming `where`."""
        items = value if self.listed and isinstance(value, list) else [value]
        if not all(map(self._is_toml, items)):
            raise ConfigError(f"{where}: expected {self.says}, found {quoted(value)}")
        if self is REPEATED:
            return tuple(items)
        if self is SWITCH:
            return value
        return self.parse(where, ",".join(map(str, items)))

    def _is_toml(self, item: Any) -> bool:
        """Whether a TOML value has one of the `toml` types. A bool is no int here, though Python says it is."""
        return bool in self.toml if isinstance(item, bool) else isinstance(item, self.toml)


def comma_list(where: str, text: str, parse: Callable[[str], T]) -> tuple[T, ...]:
    """`a,b,c` parsed element by element, each value once; raises ConfigError naming `where` and the text."""
    return tuple(dict.fromkeys(_elements(where, text, parse)))


def names(where: str, text: str) -> tuple[str, ...]:
    """A comma list of names; the word `none` is the empty list."""
    return () if text == "none" else comma_list(where, text, str)


def numbers(where: str, text: str) -> tuple[float, ...]:
    """A comma list of numbers; unlike `comma_list`, equal ones all stay."""
    return tuple(_elements(where, text, float))


def count_or_all(where: str, text: str) -> int | str:
    """A whole number, or the word `all`."""
    try:
        return ALL if text == ALL else int(text)
    except ValueError:
        raise ConfigError(f"{where}: expected one whole number or 'all', found '{text}'") from None


def byte_count(where: str, text: str) -> int:
    """Bytes of a size such as 2GB, 500MB (powers of 1000), 1GiB (of 1024) or 4096."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:([KMGT]?)(I?)B)?", text.strip().upper())
    if match is None or (match[3] and not match[2]):
        raise ConfigError(f"{where}: expected a size such as 2GB, 500MB or 1GiB, found '{text}'")
    return int(float(match[1]) * (1024 if match[3] else 1000) ** " KMGT".index(match[2] or " "))


def _elements(where: str, text: str, parse: Callable[[str], T]) -> list[T]:
    try:
        parts = [part.strip() for part in text.split(",")]
        if not all(parts):
            raise ValueError
        return [parse(part) for part in parts]
    except ValueError:
        plural = {"int": "whole numbers", "float": "numbers"}.get(getattr(parse, "__name__", ""), "names")
        raise ConfigError(f"{where}: expected {plural} separated by commas, found '{text}'") from None


def _switch(where: str, text: str) -> bool:
    if text.lower() not in (*ON, *OFF):
        raise ConfigError(f"{where}: expected 1 or 0, found '{text}'")
    return text.lower() in ON


def _number(parse: Callable[[str], T], says: str) -> Callable[[str, str], T]:
    def parsed(where: str, text: str) -> T:
        try:
            return parse(text)
        except ValueError:
            raise ConfigError(f"{where}: expected {says}, found '{text}'") from None

    return parsed


def _listed(parse: Callable[[str], T]) -> Callable[[str, str], tuple[T, ...]]:
    return lambda where, text: comma_list(where, text, parse)


TEXT = ValueKind("text", "TEXT", lambda where, text: text)
WHOLE = ValueKind("a whole number", "INT", _number(int, "a whole number"), int, (int,))
NUMBER = ValueKind("a number", "NUMBER", _number(float, "a number"), float, (int, float))
SWITCH = ValueKind("true or false", "", _switch, bool, (bool,))
COUNT_OR_ALL = ValueKind("a whole number or 'all'", "INT|all", count_or_all, toml=(int, str))
BYTES = ValueKind("a size such as 2GB", "SIZE", byte_count, toml=(int, str))
NAMES = ValueKind("names", "TEXT,...", _listed(str), toml=(str, int), listed=True)
NAMES_OR_NONE = ValueKind("names, or 'none'", "TEXT,...", names, toml=(str,), listed=True)
WHOLES = ValueKind("whole numbers", "INT,...", _listed(int), toml=(int, str), listed=True)
NUMBERS = ValueKind("numbers", "NUMBER,...", _listed(float), toml=(int, float, str), listed=True)
WEIGHTS = ValueKind("numbers", "NUMBER,...", numbers, toml=(int, float, str), listed=True)
REPEATED = ValueKind("text or a list of texts", "TEXT", lambda where, text: (text,), list, (str,), True)

OF_ANNOTATION = {
    "str": TEXT, "int": WHOLE, "float": NUMBER, "bool": SWITCH, "int | str": COUNT_OR_ALL, "tuple[str, ...]": NAMES,
    "tuple[int, ...]": WHOLES, "tuple[float, ...]": NUMBERS,
}  # fmt: skip
"""Kinds by how a field is annotated, unless its option names another."""


def kind_of(annotation: Any) -> ValueKind:
    """The kind of a field's annotation, None allowed beside it; raises TypeError for one that has none."""
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    try:
        return OF_ANNOTATION[text.removesuffix(" | None")]
    except KeyError:
        raise TypeError(f"an option of type {text} needs to name its kind") from None
