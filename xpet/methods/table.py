"""The explicit table of methods; a new method is one file and one row here."""

from __future__ import annotations

from xpet.core.config import MethodConfig
from xpet.core.errors import ConfigError
from xpet.methods.adapter import ADAPTER
from xpet.methods.base import Method
from xpet.methods.bitfit import BITFIT
from xpet.methods.compacter import COMPACTER
from xpet.methods.full import FULL
from xpet.methods.lora import LORA
from xpet.methods.soft_prompt import SOFT_PROMPT

METHODS: dict[str, Method] = {m.name: m for m in (LORA, ADAPTER, COMPACTER, SOFT_PROMPT, BITFIT, FULL)}


def find_method(config: MethodConfig) -> Method:
    """The method of a configuration; raises ConfigError listing the known or saying why it cannot be had."""
    problems = config.problems()
    if problems:
        raise ConfigError(*problems)
    return METHODS[config.name]
