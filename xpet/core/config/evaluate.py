"""What `xpet eval` needs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from xpet.core.config.fit import DEVICES, FitConfig
from xpet.core.config.kinds import NAMES_OR_NONE, REPEATED
from xpet.core.config.options import (
    GATE,
    MEASURED,
    STATISTICS,
    TIMEOUT,
    WHERE,
    declared,
    group,
    option,
    timeout_problems,
)
from xpet.core.config.parts import DataConfig, ModelConfig
from xpet.core.config.seeds import seed_problems
from xpet.core.errors import ConfigError, unknown
from xpet.core.groups import GROUPINGS
from xpet.core.prompts import parse

TEXTS = {"target": "target", "to-pivot": "to_pivot", "from-pivot": "from_pivot", "pivot": "pivot"}
"""Values of `--text`, each with its slot."""
RESULT = ".json"
"""How the name of a stored result of `xpet eval` ends."""


@dataclass(frozen=True)
class GateConfig:
    """Limits that fail a CI job, in points of R@1 (percent); None: no such limit."""

    drop: float | None = option(
        None, "--fail-if-drop", "R@1 points that any language may lose, English too", GATE, common=True
    )
    range_above: float | None = option(
        None, "--fail-if-range-above", "R@1 points between best and worst language", GATE
    )
    under: float | None = option(None, "--fail-under", "Mean R@1 over languages, in percent", GATE)


@dataclass(frozen=True)
class EvalConfig:
    """Everything `xpet eval` needs: what is measured, on which data, and what else to find out."""

    runs: tuple[str, ...] = option(
        (), "", "Run or sweep folders, packs, adapters made elsewhere, or a result; none: zero-shot only", MEASURED,
        kind=REPEATED, metavar="[RUN]...", stored=False,
    )  # fmt: skip
    """With `compare` each is a system of its own, else all make one."""
    languages: tuple[str, ...] | None = option(
        None,
        "--lang -l",
        "Languages to measure",
        MEASURED,
        default_text="all of the data",
        kind=NAMES_OR_NONE,
        common=True,
    )
    model: ModelConfig = group(ModelConfig, text={"default_text": "the runs' own, or demo", "help": "Text tower"})
    """The towers; what is left out is what the runs were trained on."""
    data: DataConfig = group(
        DataConfig, without=("drop_flagged",), name={"default_text": "the runs' own, or demo"},
        shots={"help": "Measure on the test pictures that align --shots N leaves", "default_text": "all there are",
               "section": WHERE, "common": False, "instead_of": ("split-file", "split-of")},
        split_file={"instead_of": ("shots", "split-of")},
    )  # fmt: skip
    """Captions and pictures; what is left out is what the runs were trained on."""
    fit: FitConfig = group(FitConfig, only=("device",))
    lint_only: bool = option(False, "--lint", "Only check the captions", MEASURED)
    compare: bool = option(
        False, "--compare", "Compare the paths: each is a system, the first the reference", MEASURED, common=True
    )
    texts: tuple[str, ...] | None = option(
        None, "--text",
        "Also search with these texts: target (own language), to-pivot (translated to English), from-pivot (translated "
        "from English), pivot (English)",
        MEASURED, choices=tuple(TEXTS),
    )  # fmt: skip
    """Values of TEXTS, or their slots; None: translations to English, where there are some."""
    prompts: tuple[str, ...] = option(
        (), "--prompt",
        "Also search with captions in a template with {}, or in a set: english, native, native-spaced (as the paper's "
        "code joins them), or one of these with -ensemble; repeatable",
        MEASURED, kind=REPEATED,
    )  # fmt: skip
    """As `xpet.core.prompts.parse` reads them."""
    ensemble: bool = option(False, "--ensemble", "Average the prompts into one", MEASURED)
    english: str | None = option(
        None, "--english-model",
        "English text tower for captions translated to English: a CLIP or M-CLIP checkpoint, or demo", MEASURED,
    )  # fmt: skip
    groups: tuple[str, ...] = option(
        (),
        "--group",
        "Disparity within groups of languages too, by script, family, or seen (trained or not)",
        STATISTICS,
        choices=tuple(GROUPINGS),
        common=True,
    )
    resamples: int = option(
        2000, "--resamples", "Bootstrap resamples of the 95 % intervals; 0: no intervals", STATISTICS
    )
    seed: int = option(0, "--seed", "Seed of the resamples", STATISTICS)
    latency: bool = option(False, "--latency", "Time encoding with and without the module", MEASURED)
    diagnose: bool = option(False, "--diagnose", "Say why each language is weak", MEASURED, common=True)
    advise: bool = option(False, "--advise", "Recommend a routine for each language", MEASURED, common=True)
    split_of: str | None = option(
        None, "--split-of", "Measure on the data and test pictures of this run", WHERE, metavar="RUN",
        instead_of=("shots", "val-shots", "split-file"),
    )  # fmt: skip
    gate: GateConfig = group(GateConfig)
    """What fails a CI job."""
    timeout: float = declared(30.0, TIMEOUT)
    """Minutes without a sign of life after which other processes of this command count as lost."""

    def check(self) -> EvalConfig:
        """Self, with slots in `texts` and no prompt twice; raises ConfigError with every problem, before any work."""
        problems = [unknown("text", t, list(TEXTS)) for t in self.texts or () if t not in (*TEXTS, *TEXTS.values())]
        if self.resamples < 0:
            problems.append(f"resamples must not be negative, found {self.resamples}")
        if self.compare and len(self.runs) < 2:
            problems.append(f"--compare: expected at least two runs, folders or result files, found {len(self.runs)}")
        problems += [*seed_problems("--seed", self.seed), *timeout_problems(self.timeout)]
        if self.fit.device not in DEVICES:
            problems.append(unknown("device", self.fit.device, DEVICES))
        problems += [unknown("grouping", by, list(GROUPINGS)) for by in self.groups if by not in GROUPINGS]
        for prompt in self.prompts:
            try:
                parse(prompt)
            except ConfigError as error:
                problems.extend(error.problems)
        if self.ensemble and len(self.prompts) < 2:
            problems.append(f"--ensemble: expected at least two prompts to average, found {len(self.prompts)}")
        problems += [*self.data.problems(), *self.model.problems(), *self._unused()]
        if problems:
            raise ConfigError(*problems)
        texts = None if self.texts is None else tuple(dict.fromkeys(TEXTS.get(text, text) for text in self.texts))
        return replace(self, texts=texts, prompts=tuple(dict.fromkeys(self.prompts)))

    def _unused(self) -> list[str]:
        """Problems of options that would have no effect beside `--compare`, a stored result, or no runs."""
        extra = {
            "--text": self.texts, "--prompt": self.prompts, "--english-model": self.english,
            "--diagnose": self.diagnose, "--advise": self.advise,
        }  # fmt: skip
        stored = [name for name in self.runs if name.endswith(RESULT)]
        problems = []
        if self.compare:
            problems += [f"{name} does not go with --compare" for name, value in extra.items() if value]
        elif stored:
            extra |= {"--lang": self.languages, "--group": self.groups, "--latency": self.latency}
            problems += [
                f"{name} needs a new measurement, found the result {stored[0]}"
                for name, value in extra.items()
                if value
            ]
        if self.latency and not self.runs:
            problems.append("--latency needs runs to compare with the bare tower")
        return problems + self._split_twice()

    def _split_twice(self) -> list[str]:
        """Problems of options that choose the test images in two ways."""
        splits = {
            "--shots": self.data.shots, "--val-shots": self.data.val_shots, "--split-file": self.data.split_file,
            "--split-of": self.split_of,
        }  # fmt: skip
        given = [name for name, value in splits.items() if value is not None]
        if self.split_of is not None and len(given) > 1:
            return [f"--split-of {self.split_of}: expected no other split beside it, found {given[0]}"]
        if self.data.split_file is not None and self.data.shots is not None:
            return ["--split-file: expected no --shots beside it, found both"]
        return []
