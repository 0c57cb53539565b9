"""A corpus as several commands read it: linted, restricted to what is used, cut into training, validation, test."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from xpet.core.captions import PIVOT, SLOTS, Corpus, LanguageCaptions, Reader, ReadRequest, Split
from xpet.core.config import DEMO, DataConfig
from xpet.core.errors import ConfigError, DataError, unknown
from xpet.core.events import Notice, OnEvent
from xpet.core.paths import absolute
from xpet.core.presets import ALL
from xpet.core.regular_files import read_text

if TYPE_CHECKING:
    from xpet.data.lint import Finding


def sources() -> dict[str, Reader]:
    """Every data source by name: those of the data room and the embedded world."""
    from xpet.data.sources import SOURCES
    from xpet.demo import reader

    return {DEMO: reader.read, **SOURCES}


def absolute_data(config: DataConfig) -> DataConfig:
    """The configuration with absolute paths of local files, so that a run finds them from anywhere."""
    return replace(
        config, root=absolute(config.root), image_features=absolute(config.image_features),
        translations=absolute(config.translations),
    )  # fmt: skip


def read_corpus(config: DataConfig) -> Corpus:
    """The corpus a configuration names, with all its languages; raises ConfigError, DataError."""
    readers, name = sources(), config.name or DEMO
    if name not in readers:
        raise ConfigError(unknown("data set", name, list(readers)))
    return readers[name](ReadRequest(root=config.root, variant=config.variant))


def report_notes(corpus: Corpus, languages: Sequence[str], on_event: OnEvent) -> None:
    """Warn of what the reader noted about these languages."""
    for language in languages:
        for note in corpus.notes.get(language, ()):
            on_event(Notice(note, "warning"))


def check_lint(whole: Corpus, used: Corpus, slots: Sequence[str], needed: Sequence[str], on_event: OnEvent) -> Corpus:
    """Lint the corpus `used`, compared with all languages of the data (`whole`); returns what of it may be used.

    Errors in `needed` slots raise one DataError that names all of them, and the languages to leave out. Texts of other
    slots with errors are taken out, with a warning. Lint's warnings become one notice.
    """
    from xpet.data.lint import lint

    findings = lint(used, compared=restrict(whole, whole.languages, slots))
    errors = [f for f in findings if f.severity == "error"]
    stops = [f for f in errors if f.slot in needed]
    if stops:
        raise DataError(_stopped_by(stops, whole.name, used.languages))
    bad = {(language, f.slot) for f in errors for language in f.languages if language in used.languages}
    for language, slot in sorted(bad):
        why = "; ".join(dict.fromkeys(f.message for f in errors if f.slot == slot and language in f.languages))
        on_event(Notice(f"lint: {slot} texts of {language} are left out: {why}", "warning"))
    if len(findings) > len(errors):
        count = len(findings) - len(errors)
        words = f"{count} warning{'' if count == 1 else 's'}"
        on_event(Notice(f"lint: {words} in {whole.name}; `xpet eval --lint` lists them"))
    return without_slots(used, bad)


def _stopped_by(errors: Sequence[Finding], name: str, used: Sequence[str]) -> str:
    """Lint's errors in words, and how to go on without the languages they are of."""
    where = "; ".join(f"{name} {f.split}/{f.slot} {'+'.join(f.languages)}: {f.message}" for f in errors)
    blocked = [language for language in used if any(language in f.languages for f in errors)]
    rest = [language for language in used if language not in (*blocked, PIVOT)]
    remedy = f", or leave out {', '.join(blocked)}: --lang {','.join(rest)}" if rest and PIVOT not in blocked else ""
    return f"lint found {len(errors)} errors: {where}; mend the files (see them by `xpet eval --lint`){remedy}"


def without_slots(corpus: Corpus, slots: Collection[tuple[str, str]]) -> Corpus:
    """The corpus without some slots, given as pairs of language and slot."""

    def remaining(captions: LanguageCaptions) -> LanguageCaptions:
        return captions.only([s for s in captions.texts if (captions.language, s) not in slots])

    splits = {
        name: Split(split.images, {lang: remaining(captions) for lang, captions in split.captions.items()})
        for name, split in corpus.splits.items()
    }
    return replace(corpus, splits=splits)


def captions_digest(captions: LanguageCaptions, slots: Sequence[str]) -> str:
    """SHA-256 (hex) of what one language is searched with: its image indices, and the texts of some slots."""
    import hashlib
    import json

    content = [captions.language, captions.image_index, [captions.texts.get(slot) for slot in sorted(set(slots))]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def restrict(corpus: Corpus, languages: Sequence[str], slots: Sequence[str] = SLOTS) -> Corpus:
    """The corpus with only some languages and texts, so that lint and errors speak of what is used."""
    splits = {
        name: Split(
            split.images, {lang: split.captions[lang].only(slots) for lang in languages if lang in split.captions}
        )
        for name, split in corpus.splits.items()
    }
    return replace(corpus, splits=splits)


def as_corpus(corpus: Corpus, **splits: Split) -> Corpus:
    """The corpus with these splits, which were cut from it, in place of its own."""
    return replace(corpus, splits=splits)


@dataclass(frozen=True)
class Parts:
    """A corpus cut into train, validation and test."""

    train: Split
    validation: Split
    test: Split

    def names(self) -> dict[str, list[str]]:
        """Image names of each part, as the run record holds them."""
        return {part: list(getattr(self, part).images) for part in ("train", "validation", "test")}


def cut(corpus: Corpus, config: DataConfig) -> Parts:
    """Cut a corpus by the configuration's numbers and seed, or its split file; raises ConfigError, DataError."""
    from xpet.data.splits import SplitPlan, apply, few_shot

    if config.split_file is not None:
        try:
            text = read_text(config.split_file)
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"cannot read the split file {config.split_file}: {error}") from error
        plan = SplitPlan.from_json(text, corpus)
    else:
        shots = ALL if config.shots is None else config.shots
        plan = few_shot(corpus, shots, config.val_shots, config.split_seed)
    return Parts(**apply(corpus, plan))
