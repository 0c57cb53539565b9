"""A process that makes pairs of routine `text` with others; run by test_shared_pairs."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.jobs.align.test_text import configured
from tests.jobs.conftest import World
from xpet.core.events import Progress
from xpet.core.processes import connected
from xpet.jobs.align import text_features, text_language
from xpet.jobs.align.prepare import prepare
from xpet.jobs.shared import measure
from xpet.translation.engine import ArgosTranslator, Hypothesis

CASES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "two languages": (("de", "tr"), {}),
    "one language": (("tr",), {"n_best": 2}),
    "again": (("de", "tr"), {}),
}
"""Languages and text settings of each case; the last finds the stores of the first."""


def pair(world: World, packages: Path, corpus: Path, caches: Path) -> dict[str, Any]:
    """What this process encoded and translated in each case, and its pairs."""
    seen: dict[str, Any] = {}
    texts, encoder, best = [], measure.encoder, ArgosTranslator.best
    english: list[str] = []

    def counting(tower: object, tokenizer: Any) -> measure.Encode:
        encode = encoder(tower, tokenizer)
        return lambda lines: (english.extend(lines), encode(lines))[1]  # type: ignore[func-returns-value]

    def translated(self: ArgosTranslator, lines: Any) -> list[Hypothesis]:
        texts.extend(f"{self.target} {line}" for line in lines)
        return best(self, lines)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "encoder", counting)
        patch.setattr(ArgosTranslator, "best", translated)
        for module in (text_language, text_features):
            patch.setattr(module, "CHUNK", 60)
        patch.setattr(text_language, "AT_ONCE", 25)
        for name, (languages, settings) in CASES.items():
            patch.setenv("XPET_CACHE", str(caches / languages[0]))
            texts, english = [], []
            events: list[Any] = []
            setup = prepare(
                configured(world, caches / "run", packages, corpus, *languages, **settings).check(), events.append
            )
            pairs = {
                lang: [list(made.tokens), made.frozen[range(len(made.tokens))].tolist(), made.val_tokens, made.counts]
                for lang, made in setup.pairs.items()
            }
            seen[name] = {
                "pairs": pairs, "translated": texts, "english": english, "zero-shot": list(setup.zero_shot.values()),
                "stages": [event.stage for event in events if isinstance(event, Progress)],
            }  # fmt: skip
    return seen


def main(*paths: str) -> None:
    """Print one JSON object: what this process saw."""
    text, table, features, packages, corpus, caches = map(Path, paths)
    with connected(60):
        seen = pair(World(text, table, features), packages, corpus, caches)
    print(json.dumps({"rank": int(os.environ["RANK"]), **seen}))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
