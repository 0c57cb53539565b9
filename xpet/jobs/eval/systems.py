"""Measures systems: the base with every text and prompt asked for, the English tower, and runs with their modules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from xpet.core.captions import ENGLISH_SLOTS, PIVOT
from xpet.core.config import EvalConfig
from xpet.core.errors import DataError
from xpet.core.events import OnEvent, Progress
from xpet.core.map_score import MapScore
from xpet.core.prompts import Prompt, ensemble, parse
from xpet.core.seeds import mean_known
from xpet.core.tensors import tensor_bytes
from xpet.jobs.eval.measurements import Measurements
from xpet.jobs.eval.prepare import EvalSetup
from xpet.jobs.eval.prompts import prompted
from xpet.jobs.results.report import Cost, Latency
from xpet.jobs.shared import measure
from xpet.jobs.shared.run_records import Runs, chosen_runs
from xpet.jobs.shared.towers import Width, english_path

if TYPE_CHECKING:
    from xpet.core.metrics import Retrieval

R = TypeVar("R")

NAMES = {
    "target": "zero-shot", "to_pivot": "translated", "from_pivot": "from English",
    "pivot": "English text",
}  # fmt: skip
"""Name of the base as a system, by the slot it searches with."""


@dataclass
class Measured(Generic[R]):
    """Results of a system by language (and seed); `report_rows.system_of` makes a `results.report.System` of it.

    A result is a retrieval, or while measuring goes on the number of one, which another process may have.

    `english` is English under the module of each aligned language, `untrained` the languages without a module under
    it, `bare_english` English under the bare tower; `runs` are the folders of the best seeds, `maps` the maps beside
    them. The other fields are as in `System`.
    """

    name: str
    kind: str
    text: str
    results: dict[str, R | dict[int, R]] = field(default_factory=dict)
    english: dict[str, R | dict[int, R]] = field(default_factory=dict)
    untrained: dict[str, dict[str, R]] = field(default_factory=dict)
    bare_english: R | None = None
    prompt: str | None = None
    runs: dict[str, str] = field(default_factory=dict)
    maps: dict[str, MapScore] = field(default_factory=dict)
    method: str | None = None
    routine: str | None = None
    shots: int | None = None
    aligned: tuple[str, ...] = ()
    translates: bool = False
    cost: Cost | None = None


def measure_all(
    config: EvalConfig, setup: EvalSetup, records: Runs, on_event: OnEvent
) -> tuple[list[Measured[Retrieval]], list[str]]:
    """Every system that `config` names, and warnings; first the reference, which is the base with natural captions.

    Of several processes each measures a share, and the first one gets the systems, the others none.
    """
    warnings: list[str] = []
    steps = _Steps(setup, _count(config, setup, records), on_event)
    with setup.bare() as encode:
        systems = [_base(setup, encode, "target", None, steps)]
        systems[0].bare_english = _english(setup, encode, systems[0], steps)
        for text in _texts(config, setup):
            systems.append(_base(setup, encode, text, None, steps, systems[0]))
        for prompt in _prompts(config):
            natural = _base(setup, encode, "target", prompt, steps)
            systems += [natural, *(_base(setup, encode, text, prompt, steps, natural) for text in _named(config))]
    if config.english is not None:
        systems.append(_english_tower(config.english, setup, steps))
        warnings += _other_image_tower(config.english, setup)
    if records:
        systems.append(_aligned(setup, records, systems[0], steps))
        if not systems[-1].aligned:
            warnings.append(f"none of the runs is for {', '.join(setup.languages)}: all that is shown is the base")
    warnings += _missing(setup, systems)
    found = steps.measurements.gathered()
    return [_filled(system, found) for system in systems] if found else [], warnings


def _filled(system: Measured[int], found: Mapping[int, Retrieval]) -> Measured[Retrieval]:
    """A system with retrievals in place of their numbers."""

    def fill(values: Any) -> Any:
        return {key: fill(value) for key, value in values.items()} if isinstance(values, dict) else found[values]

    bare = None if system.bare_english is None else found[system.bare_english]
    results = {name: fill(getattr(system, name)) for name in ("results", "english", "untrained")}
    return Measured(**{**vars(system), **results, "bare_english": bare})


def _missing(setup: EvalSetup, systems: Sequence[Measured[int]]) -> list[str]:
    """A warning for each system that lacks some of the languages to show."""
    warnings = []
    for system in systems:
        missing = [lang for lang in setup.languages if lang not in system.results]
        if missing:
            warnings.append(f"{system.name}: no such texts or templates for {', '.join(missing)}; compare with care")
    return warnings


def _prompts(config: EvalConfig) -> list[Prompt]:
    """The prompts to measure one by one, or their ensemble alone."""
    prompts = [parse(prompt) for prompt in config.prompts]
    return [ensemble(prompts)] if config.ensemble else prompts


class _Steps:
    """What measures a share, and reports progress: one step for each language of each system."""

    def __init__(self, setup: EvalSetup, total: int, on_event: OnEvent) -> None:
        self.setup, self.total, self.on_event, self.done = setup, total, on_event, 0
        self.measurements = Measurements(setup.images)
        self.measure = self.measurements.measure

    def languages(self) -> Iterator[str]:
        """The languages to measure; a step of progress is reported after each."""
        for language in self.setup.languages:
            yield language
            self.done += 1
            self.on_event(Progress("evaluating", self.done, max(self.total, self.done), language))


def _count(config: EvalConfig, setup: EvalSetup, records: Runs) -> int:
    """Steps of progress: languages times systems."""
    prompted = len(_prompts(config)) * (1 + len(_named(config)))
    return (1 + len(_texts(config, setup)) + prompted + bool(config.english) + bool(records)) * len(setup.languages)


def _named(config: EvalConfig) -> list[str]:
    """Slots named in `--text`, but for natural captions."""
    return [text for text in config.texts or () if text != "target"]


def _texts(config: EvalConfig, setup: EvalSetup) -> list[str]:
    """Slots the base searches with besides natural captions: those named, else translations where there are any."""
    if config.texts is not None:
        return _named(config)
    others = [setup.test.captions[lang] for lang in setup.languages if lang != PIVOT]
    return ["to_pivot"] if any("to_pivot" in captions.texts for captions in others) else []


def _slot(language: str, text: str) -> str:
    """The slot of a language's captions to search with: English is searched with as it is, whatever the text."""
    return "target" if language == PIVOT else text


def _base(
    setup: EvalSetup, encode: measure.Encode, text: str, prompt: Prompt | None, steps: _Steps,
    first: Measured[int] | None = None,
) -> Measured[int]:  # fmt: skip
    """The base searching with one slot (`text`), in a prompt where there is one.

    English has but one slot: where `first` measured it already, its result is taken. A prompt set's templates are in
    the language of the text: English ones around text translated to English. Raises DataError where no language has
    the slot.
    """
    name = NAMES[text] if prompt is None else f"prompt {prompt.name}"
    name += f", {NAMES[text]}" if prompt is not None and text != "target" else ""
    system: Measured[int] = Measured(
        name, "base", text, prompt=prompt.name if prompt else None, translates=text == "to_pivot"
    )
    for language in steps.languages():
        captions, slot = setup.test.captions[language], _slot(language, text)
        written = PIVOT if slot in ENGLISH_SLOTS else language
        if slot not in captions.texts or (prompt is not None and not prompt.covers(written)):
            continue
        if first is not None and slot == first.text:
            if language in first.results:
                system.results[language] = first.results[language]
            continue
        encode_text = encode if prompt is None else prompted(encode, prompt, written)
        system.results[language] = steps.measure(encode_text, captions, slot)
    if not system.results:
        raise DataError(f"expected {text} texts of {', '.join(setup.languages)}, found none")
    return system


def _english(setup: EvalSetup, encode: measure.Encode, base: Measured[int], steps: _Steps) -> int | None:
    """English under the bare tower, against which forgetting is measured; None without English captions."""
    measured = base.results.get(PIVOT)
    if measured is not None or PIVOT not in setup.test.captions:
        return measured  # type: ignore[return-value]
    return steps.measure(encode, setup.test.captions[PIVOT], "target")


def _english_tower(name: str, setup: EvalSetup, steps: _Steps) -> Measured[int]:
    """A mono-lingual English text tower, on captions translated to English (the paper's CLIP + MT)."""
    from xpet.models.clip_text import load_english_tower
    from xpet.models.encode import check_dimensions

    loaded = load_english_tower(english_path(name))
    check_dimensions(loaded.tower, Width(setup.images.shape[1]))
    encode = measure.encoder(loaded.tower.to(setup.device), loaded.tokenizer)
    system: Measured[int] = Measured(f"English tower {name}, translated", "base", "to_pivot", translates=True)
    for language in steps.languages():
        captions, slot = setup.test.captions[language], _slot(language, "to_pivot")
        if slot in captions.texts:
            system.results[language] = steps.measure(encode, captions, slot)
    return system


def _other_image_tower(name: str, setup: EvalSetup) -> list[str]:
    """A warning where the English tower was trained beside another image tower than the one measured with."""
    from xpet.models.clip_text import image_half

    if setup.towers.image is None:  # the user's own features do not tell what made them
        return []
    expected, used = image_half(english_path(name)), setup.towers.image.fingerprint
    if expected in (None, used):
        return []
    return [
        f"the English tower {name} comes with other weights of an image tower than '{setup.towers.names['image']}', "
        "which these figures are with: its own is --image-model " + name
    ]


def _aligned(setup: EvalSetup, records: Runs, base: Measured[int], steps: _Steps) -> Measured[int]:
    """The system of the runs: each aligned language with its own modules, the others with the base."""
    chosen = chosen_runs(records)
    first = next(iter(chosen.values()))[0][1]
    routines = {runs[0][1].routine.name: runs[0][1].routine for runs in chosen.values()}
    texts = {routine.evaluation for routine in routines.values()}
    shots = {len(runs[0][1].split.train) for runs in chosen.values()}
    system: Measured[int] = Measured(
        f"aligned, {first.method.name}", "run", texts.pop() if len(texts) == 1 else "target",
        method=first.method.name, routine=", ".join(routines),
        shots=(shots.pop() or None) if len(shots) == 1 else None,
        aligned=tuple(lang for lang in setup.languages if lang in chosen),
        translates=any(routine.translates_queries for routine in routines.values()), cost=_cost(records, setup.total),
    )  # fmt: skip
    for language in steps.languages():
        system.results[language] = base.results[language]
        if language in chosen:
            _with_module(setup, chosen[language], language, system, steps)
    return system


def _with_module(setup: EvalSetup, runs: Runs, language: str, system: Measured[int], steps: _Steps) -> None:
    """Measure one language with the modules of its runs (one per seed) and put the results into `system`.

    English is measured under every module, the languages without a module under that of the best seed.
    """
    captions, slot = setup.test.captions, runs[0][1].routine.evaluation
    by_seed: dict[int, int] = {}
    english: dict[int, int] = {}
    for number, (_, record) in enumerate(runs):
        seed = record.run.seed
        with setup.tuned(record) as encode:
            by_seed[seed] = steps.measure(encode, captions[language], slot)
            if PIVOT in captions:
                english[seed] = steps.measure(encode, captions[PIVOT], "target")
            if number == 0:
                others = [lang for lang in setup.languages if lang not in (PIVOT, *system.aligned)]
                system.untrained[language] = {lang: steps.measure(encode, captions[lang], "target") for lang in others}
    system.results[language] = by_seed
    system.runs[language] = str(runs[0][0])
    score = runs[0][1].metrics.map
    if score is not None:
        system.maps[language] = score
    if english:
        system.english[language] = english


def _cost(records: Runs, total: int) -> Cost:
    """Parameters of the first run's module, largest size, mean time and peak memory; time and memory may be unknown."""
    metrics = [record.metrics for _, record in records]
    return Cost(
        trainable=metrics[0].trainable,
        total=metrics[0].total or total,
        module_bytes=max(tensor_bytes(record.delta) for _, record in records),
        training_seconds=mean_known([m.seconds for m in metrics]),
        peak_mebibytes=max((m.peak_memory for m in metrics if m.peak_memory is not None), default=None),
    )


def with_latency(setup: EvalSetup, records: Runs, system: Measured[Retrieval]) -> Cost:
    """The cost with the encoding speed of the first aligned language's module."""
    from xpet.models.latency import compare_speed

    assert setup.stack is not None
    assert system.cost is not None
    stack, record = setup.stack, next(r for _, r in records if r.language in system.aligned)
    stack.load(0, record.delta)
    texts = setup.test.captions[record.language].slot(record.routine.evaluation)
    speed = compare_speed(setup.encode, texts, lambda: stack.one(0), stack.bare, setup.device)
    latency = Latency(setup.kind_of_device, speed.milliseconds_per_query, speed.texts_per_second, speed.against_bare)
    return replace(system.cost, latency=latency)
