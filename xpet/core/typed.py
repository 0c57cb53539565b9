"""Builds dataclasses from plain JSON values, checked by their annotations: the inverse of `dataclasses.asdict`.

Libraries that do this are not as strict: dacite takes true for a whole number and text for a list, and cattrs turns
"1000" into 1000. Either would need as much code to say which field expected what.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

SCALARS: dict[Any, tuple[Any, str]] = {
    str: (str, "text"), bool: (bool, "true or false"), int: (int, "a whole number"), float: ((int, float), "a number"),
}  # fmt: skip
"""Annotation -> the types that its JSON value may have, and what errors call them."""


def build(kind: Any, value: Any) -> Any:
    """`value` as the annotated type `kind`: records from objects, tuples from lists, the rest as it is.

    Raises ValueError saying what was expected and found, with the fields that lead there; TypeError for a record that
    lacks a field without a default.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _one_of(inner, value)
    if is_dataclass(origin or kind):
        return _record(kind, _checked(value, dict, "an object"))
    if origin is not None and issubclass(origin, Mapping):
        return {key: _inside(key, inner[1], item) for key, item in _checked(value, dict, "an object").items()}
    if origin is not None and issubclass(origin, Sequence):
        return tuple(build(inner[0], item) for item in _checked(value, (list, tuple), "a list"))
    if kind in SCALARS:
        if isinstance(value, bool) and kind is not bool:  # which Python counts as a number
            raise ValueError(f"expected {SCALARS[kind][1]}, found {value!r}")
        return _checked(value, *SCALARS[kind])
    return value


def _one_of(kinds: Sequence[Any], value: Any) -> Any:
    """The value as the first of the types that accepts it; if none does, the error is that of the last."""
    if value is None and type(None) in kinds:
        return None
    known = [kind for kind in kinds if kind is not type(None)]
    for kind in known[:-1]:
        try:
            return build(kind, value)
        except (TypeError, ValueError):
            continue
    return build(known[-1], value)


def _record(kind: Any, value: Mapping[str, Any]) -> Any:
    hints = field_types(kind)
    extra = sorted(set(value) - set(hints))
    if extra:
        raise ValueError(f"unknown field {extra[0]:.60}")
    return (get_origin(kind) or kind)(**{name: _inside(name, hints[name], item) for name, item in value.items()})


def _inside(name: str, kind: Any, value: Any) -> Any:
    """The value of the field or entry `name`; raises ValueError with that name in front."""
    try:
        return build(kind, value)
    except ValueError as error:
        raise ValueError(f"{name:.60}: {error}") from None


@cache
def field_types(kind: Any) -> dict[str, Any]:
    """The annotated types of a record's fields, by name; of a generic record `kind[type]` those with its type."""
    record = get_origin(kind) or kind
    hints = get_type_hints(record)
    given = dict(zip(getattr(record, "__parameters__", ()), get_args(kind), strict=False))
    return {f.name: _filled(hints[f.name], given) for f in fields(record)}


def _filled(hint: Any, given: Mapping[Any, Any]) -> Any:
    """An annotation with its type variables replaced by the types given for them."""
    if hint in given:
        return given[hint]
    variables = getattr(hint, "__parameters__", ()) if given else ()
    return hint[tuple(given[variable] for variable in variables)] if variables else hint


def _checked(value: Any, types: Any, what: str) -> Any:
    if not isinstance(value, types):
        raise ValueError(f"expected {what}, found {value!r:.60}")
    return value
