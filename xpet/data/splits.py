"""Cuts a corpus into train, validation and test: by official splits, a seeded permutation, or the user's file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xpet.core.captions import Corpus, Split
from xpet.core.errors import ConfigError, DataError, listing, one_line, quoted
from xpet.data.images import match_spelling
from xpet.data.text_files import raise_problems

SEED = 42
PARTS = ("train", "validation", "test")
WHOLE = "all"
"""The only split of a corpus without official ones."""
LISTED = 3
"""Image names that an error lists."""


@dataclass(frozen=True)
class SplitPlan:
    """Image indices of each part, in the corpus' split of that name, or in its only split `all`."""

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]

    @classmethod
    def from_json(cls, text: str, corpus: Corpus) -> SplitPlan:
        """The plan a file holds: `{"train": [image names], "validation": [...], "test": [...]}`.

        Raises:
            DataError: another form, an empty part, names that the corpus does not have or that are there twice.
        """
        named = _known(_parse(text), corpus)
        problems: list[str] = []
        seen: dict[str, str] = {}
        parts = {}
        for part in PARTS:
            index_of = {name: index for index, name in enumerate(split_for(corpus, part).images)}
            unknown = [name for name in named[part] if name not in index_of]
            often = Counter(named[part])
            twice = [name for name in often if name in seen or often[name] > 1]
            if unknown:
                problems.append(f"split file, {part}: expected images of {corpus.name}, found {_few(unknown)} unknown")
            if twice:
                problems.append(f"split file, {part}: expected every image once, found {_few(twice)} again")
            seen |= dict.fromkeys(named[part], part)
            parts[part] = tuple(index_of[name] for name in named[part] if name in index_of)
        raise_problems(problems)
        return cls(**parts)


def few_shot(corpus: Corpus, shots: int | str, val_shots: int | str | None = None, seed: int = SEED) -> SplitPlan:
    """The reference's split for a number of training images; `shots` "all" takes all of an official train split.

    With one split `all`: of `torch.randperm(n)` seeded with `seed`, train is the first `shots`, validation the next
    `val_shots` (default: as many), test the rest. With official splits: the first `shots` of the permutation of
    train, the first `val_shots` of that of validation (default: as many, or all there are), and all of test.
    `val_shots` "all" is the whole of an official validation split, and the default where there is none.

    Raises:
        ConfigError: no number of shots for a corpus with the one split `all`, numbers below 1, or more than there are
            images.
        DataError: the corpus has neither `all` nor train, validation and test.
    """
    train, held = (number if isinstance(number, int) else None for number in (shots, val_shots))
    wrong = [f"expected at least 1 {what}, found {n}" for what, n in _numbers(train, held) if n < 1]
    if wrong:
        raise ConfigError(*wrong)
    if WHOLE in corpus.splits:
        return _cut(corpus, train, held, seed)
    sizes = {part: len(split_for(corpus, part).images) for part in PARTS}
    if train is not None and val_shots is None:
        held = min(train, sizes["validation"])
    requested = {"train": ("shots", train), "validation": ("validation shots", held)}
    problems = [_too_many(what, sizes[part], n) for part, (what, n) in requested.items() if n and n > sizes[part]]
    if problems:
        raise ConfigError(*problems)
    first = {part: _first(sizes[part], number, seed) for part, (_, number) in requested.items()}
    return SplitPlan(first["train"], first["validation"], tuple(range(sizes["test"])))


def _first(size: int, number: int | None, seed: int) -> tuple[int, ...]:
    """The first `number` of the permuted indices of `size` images; None: all of them, in order."""
    return tuple(range(size) if number is None else permutation(size, seed)[:number])


def apply(corpus: Corpus, plan: SplitPlan) -> dict[str, Split]:
    """The corpus cut by the plan: keys train, validation, test."""
    return {part: split_for(corpus, part).take(getattr(plan, part)) for part in PARTS}


def permutation(count: int, seed: int = SEED) -> list[int]:
    """`torch.randperm(count)` by a generator of its own; for 1,000 and seed 42 it begins 542, 618, 816, 68, 94."""
    import torch

    order: list[int] = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    return order


def _cut(corpus: Corpus, shots: int | None, val_shots: int | None, seed: int) -> SplitPlan:
    """The plan of a corpus with the one split `all`; raises ConfigError as `few_shot` does."""
    count = len(corpus.splits[WHOLE].images)
    if shots is None:
        raise ConfigError(
            f"{corpus.name} has no official train split of its {count} images: expected --shots N, found none"
        )
    most = (count - 1) // 2 if val_shots is None else count - 1 - val_shots
    if shots > most:
        raise ConfigError(_too_many("shots", max(most, 0), shots))
    held = shots if val_shots is None else val_shots
    order = permutation(count, seed)
    return SplitPlan(tuple(order[:shots]), tuple(order[shots : shots + held]), tuple(order[shots + held :]))


def _numbers(shots: int | None, val_shots: int | None) -> list[tuple[str, int]]:
    """Those of the numbers that are given, each with its name."""
    given = (("shots", shots), ("validation shots", val_shots))
    return [(what, n) for what, n in given if n is not None]


def _too_many(what: str, most: int, number: int) -> str:
    return f"expected at most {most} {what}, found {number}"


def split_for(corpus: Corpus, part: str) -> Split:
    """The split a part is taken from: `all` where there is only that; raises DataError when there is neither."""
    split = corpus.splits.get(WHOLE) or corpus.splits.get(part)
    if split is None:
        have = ", ".join(corpus.splits)
        raise DataError(f"{corpus.name}: expected a split {part} or {WHOLE}, found only {have}")
    return split


def _parse(text: str) -> Mapping[str, Sequence[str]]:
    """The image names of each part in a split file; raises DataError of everything that has another form."""
    form = 'expected {"train": [image names], "validation": [...], "test": [...]}'
    try:
        pairs = json.loads(text.removeprefix("\ufeff"), object_pairs_hook=_JsonPairs)
    except (ValueError, RecursionError) as error:
        raise DataError(f"split file: {form}, found {one_line(error)}") from error
    if not isinstance(pairs, _JsonPairs):
        raise DataError(f"split file: {form}, found {type(pairs).__name__}")
    if sorted(part for part, _ in pairs) != sorted(PARTS):
        raise DataError(f"split file: {form}, found {listing([part for part, _ in pairs], 9) or '{}'}")
    bad = [
        f"split file, {part}: expected a list of image names, found {found}"
        for part, names in pairs
        if (found := _no_names(names))
    ]
    raise_problems(bad)
    return dict(pairs)


def _known(named: Mapping[str, Sequence[str]], corpus: Corpus) -> dict[str, list[str]]:
    """The names of each part as the corpus spells them, so that another spelling or a link is the same image."""
    images = dict.fromkeys(image for part in PARTS for image in split_for(corpus, part).images)
    return {part: match_spelling(names, list(images), corpus.pictures) for part, names in named.items()}


class _JsonPairs(list[tuple[str, Any]]):
    """The (key, value) pairs of a JSON object, so that repeated keys are seen."""


def _no_names(names: object) -> str:
    """What stands in place of a list of image names, for a message; nothing when it is one."""
    if isinstance(names, _JsonPairs):
        return "an object"
    if not isinstance(names, list):
        return quoted(names)
    if not names:
        return "an empty one"
    wrong = [name for name in names if not isinstance(name, str)]
    return f"{'an object' if isinstance(wrong[0], _JsonPairs) else quoted(wrong[0])} in it" if wrong else ""


def _few(names: Sequence[str]) -> str:
    """How many names, and the first of them."""
    return f"{len(names)} ({listing(names[:LISTED])}{', ...' if len(names) > LISTED else ''})"
