"""Makes any text harmless where it is shown: it steers no terminal, and does not turn the text around it.

Captions, languages, names of models and files come from other people. What could do harm:

- control characters (C0, DEL, C1): colours, the title of the window, links, a line written over another;
- embeddings, overrides and isolates of direction: a text reads backwards, and all behind it;
- line and paragraph separators, and halves of surrogate pairs.

Letters of every script, marks of direction (such as U+200F) and joiners (of emoji, of Persian) stay as they are.
"""

from __future__ import annotations

import re

_STEERS = r"\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_HARMFUL = re.compile(rf"[\x00-\x09\x0b-\x1f{_STEERS}]")
_IN_JSON = re.compile(rf"[{_STEERS}]")
_STEERING = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a cell begins with that a spreadsheet runs as a formula, or takes for white space in front of one."""


def visible(text: str) -> str:
    r"""The text with what could do harm as escapes (`\x1b`, `\u202e`); only line feeds stay."""
    return _HARMFUL.sub(lambda match: ascii(match[0])[1:-1], text)


def clean(words: str) -> str:
    """Words on one line, with spaces for what could do harm and question marks for halves of surrogate pairs."""
    return " ".join(_STEERING.sub(" ", words).encode("utf-8", "replace").decode().split())


def in_json(text: str) -> str:
    """A JSON document that means the same, with what could do harm in its strings as JSON's own escapes."""
    return _IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def in_csv(value: object) -> object:
    """The value of a CSV's cell: text that a spreadsheet would run as a formula gets an apostrophe in front of it.

    Everything else that could do harm is an escape, as `visible` has it. Numbers stay numbers.
    """
    if not isinstance(value, str):
        return value
    return f"'{visible(value)}" if value.startswith(_FORMULA) else visible(value)
