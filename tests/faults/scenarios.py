"""The commands that are killed, and what each leaves: a row a command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

TABLE = ("--data", "table", "--data-root", "{world}/table.jsonl", "--image-features", "{world}/features.npy")
TRAINING = (
    "align", *TABLE, "--model", "{world}/text", "--shots", "12", "--val-shots", "12", "--batch-size", "6",
    "--validate-every", "10", "--device", "cpu", "--routine", "1", "-q", "--out", "out",
)  # fmt: skip
PACKAGES = ("--packages", "{world}/packages")
BRIEF = {"--steps": "4", "--validate-every": "2", "--seed": "1,2", "--lang": "de"}
"""Values of options that make a command short."""
FEW = ("german.txt", "english.txt", "pictures/table.jsonl")
"""Endings of inputs of which there are shorter ones, whose names begin with `few-`."""


@dataclass(frozen=True)
class Scenario:
    """A command.

    Attributes:
        name: its name in the table of counts.
        words: its command line; `{world}` is the folder of inputs. It runs in an empty folder.
        results: patterns of the finished results, each of which is whole or absent: folders, or files.
        exact: whether the result is the same to the last bit. That of a stack is not: which runs share it decides how
            its products are rounded, and a repeated command has fewer runs to put into stacks.
        slow: whether it starts interpreters of its own, which takes seconds.
        launcher: words of another program that starts it, in place of `python -m`.
    """

    name: str
    words: tuple[str, ...]
    results: tuple[str, ...] = ("out",)
    exact: bool = True
    slow: bool = False
    launcher: tuple[str, ...] = ()

    def command(self, world: Path, brief: bool = False) -> list[str]:
        """The words with the folder of inputs filled in; a `brief` command does the same to less."""
        words = [word.format(world=world) for word in self.words]
        if brief:
            for option, value in BRIEF.items():
                if option in words:
                    words[words.index(option) + 1] = value
        return [word.replace(f"{world}/", f"{world}/few-") if brief and word.endswith(FEW) else word for word in words]


SCENARIOS = {each.name: each for each in (
    Scenario("align a sweep", (
        *TRAINING, "--lang", "de,tr", "--seed", "1,2,3", "--steps", "60", "--stack", "1", "--workers", "1",
    ), ("out/*-seed*", "out/summary.json")),
    Scenario("align one run", (*TRAINING, "--lang", "de", "--steps", "200")),
    Scenario("align a sweep in threads", (
        *TRAINING, "--lang", "de,tr", "--seed", "1,2,3", "--steps", "60", "--stack", "2", "--workers", "2",
    ), ("out/*-seed*", "out/summary.json"), exact=False),
    Scenario("align a sweep by two processes", (
        *TRAINING, "--lang", "de,tr", "--seed", "1,2,3", "--steps", "60", "--stack", "1", "--processes", "2",
    ), ("out/*-seed*", "out/summary.json"), slow=True),
    Scenario("pair a corpus", (
        "align", *TABLE, "--model", "{world}/text", "--shots", "12", "--device", "cpu", "--lang", "de", "-q",
        "--routine", "text", "--corpus", "{world}/english.txt", *PACKAGES, "--batch-size", "16",
        "--steps", "8", "--out", "out",
    )),
    Scenario("translate a file", (
        "translate", "{world}/german.txt", "--from", "de", "--to", "en", *PACKAGES, "-q", "-o", "out.txt",
    ), ("out.txt",)),
    Scenario("translate a data set", (
        "translate", "--data", "table", "--data-root", "{world}/untranslated.jsonl", "--lang", "de", *PACKAGES,
        "-q", "-o", "out",
    ), ("out/*",)),
    Scenario("encode pictures", (
        "eval", "--data", "table", "--data-root", "{world}/pictures/table.jsonl", "--model", "{world}/text",
        "--image-model", "{world}/image", "--device", "cpu", "--resamples", "0", "-q", "-o", "out.csv",
    ), ("out.csv",)),
    Scenario("merge into a checkpoint", ("merge", "{world}/run", "-o", "out", "--device", "cpu", "-q")),
    Scenario("merge into a pack", ("merge", "{world}/run", "--pack", "out.xpet", "-q"), ("out.xpet",)),
    Scenario("export to PEFT", ("merge", "{world}/run", "--export", "peft", "-o", "out", "--device", "cpu", "-q")),
)}  # fmt: skip
