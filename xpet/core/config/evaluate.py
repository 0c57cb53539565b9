"""What `xpet eval` needs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from xpet.core.config.fit import DEVICES, FitConfig
from xpet.core.config.parts import DataConfig, ModelConfig
from xpet.core.errors import ConfigError, unknown
from xpet.core.groups import GROUPINGS
from xpet.core.prompts import parse

TEXTS = {"target": "target", "to-pivot": "to_pivot", "from-pivot": "from_pivot", "pivot": "pivot"}
"""Values of `--text`, each with its slot."""
RESULT = ".json"
"""How the name of a stored result of `xpet eval` ends."""


@dataclass(frozen=True)
class GateConfig:
    """What fails a CI job: points of R@1 lost by any language, a range above, a mean below (all in points)."""

    drop: float | None = None
    range_above: float | None = None
    under: float | None = None


@dataclass(frozen=True)
class EvalConfig:
    """Everything `xpet eval` needs: what is measured, on which data, and what else to find out.

    `runs` are run or sweep folders (none: zero-shot only), or result files. With `compare` each of them is a system of
    its own, else all make one. Empty names (`data.name`, `model.text`) and fields left None mean what the runs were
    trained on, or the demo. `texts` are slots to search with besides the usual, `prompts` as `xpet.core.prompts`
    parses them (with `ensemble` averaged into one), `english` a mono-lingual English text tower for translated
    captions. `resamples` 0: no intervals. `split_of` names a run or folder of runs: without runs of its own the
    measurement is on the data and the very test images of that one.
    """

    runs: tuple[str, ...] = ()
    languages: tuple[str, ...] | None = None
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    lint_only: bool = False
    compare: bool = False
    texts: tuple[str, ...] | None = None
    prompts: tuple[str, ...] = ()
    ensemble: bool = False
    english: str | None = None
    groups: tuple[str, ...] = ()
    resamples: int = 2000
    seed: int = 0
    latency: bool = False
    diagnose: bool = False
    advise: bool = False
    split_of: str | None = None
    gate: GateConfig = field(default_factory=GateConfig)

    def check(self) -> EvalConfig:
        """Self with slot names for texts; raises ConfigError with every problem found, before anything is loaded."""
        problems = [unknown("text", t, list(TEXTS)) for t in self.texts or () if t not in (*TEXTS, *TEXTS.values())]
        if self.resamples < 0:
            problems.append(f"resamples must not be negative, found {self.resamples}")
        if self.compare and len(self.runs) < 2:
            problems.append(f"--compare: expected at least two runs, folders or result files, found {len(self.runs)}")
        if not 0 <= self.seed < 2**63:
            problems.append(f"--seed: expected a number from 0 to 2^63, found {self.seed}")
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
        """Options that what is evaluated would leave without effect."""
        extra = {
            "--text": self.texts, "--prompt": self.prompts, "--english-model": self.english,
            "--diagnose": self.diagnose, "--advise": self.advise,
        }  # fmt: skip
        stored = [name for name in self.runs if name.endswith(RESULT)]
        found = []
        if self.compare:
            found += [f"{name} does not go with --compare" for name, value in extra.items() if value]
        elif stored:
            extra |= {"--lang": self.languages, "--group": self.groups, "--latency": self.latency}
            found += [f"{name} needs a new measurement, found the result {stored[0]}" for name, v in extra.items() if v]
        if self.latency and not self.runs:
            found.append("--latency needs runs to compare with the bare tower")
        return found + self._split_twice()

    def _split_twice(self) -> list[str]:
        """Test images named more than once."""
        asked = {
            "--shots": self.data.shots, "--val-shots": self.data.val_shots, "--split-file": self.data.split_file,
            "--split-of": self.split_of,
        }  # fmt: skip
        given = [name for name, value in asked.items() if value is not None]
        if self.split_of is not None and len(given) > 1:
            return [f"--split-of {self.split_of}: expected no other split beside it, found {given[0]}"]
        if self.data.split_file is not None and self.data.shots is not None:
            return ["--split-file: expected no --shots beside it, found both"]
        return []
