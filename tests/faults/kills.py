"""Kills a command at random moments, looks at what it left, repeats it, and compares with one that was never killed."""

from __future__ import annotations

import random
import shutil
import signal
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults import places
from tests.faults.child import Around, Command, Ended, import_noted, noting_modules, start
from tests.faults.places import CACHE, UNFINISHED, Tree, tree
from tests.faults.scenarios import Scenario
from xpet.core.errors import XpetError
from xpet.core.rundir import read_run

SIGNALS = {
    signal.SIGKILL: (-signal.SIGKILL,),
    signal.SIGTERM: (-signal.SIGTERM, 143, 0),
    signal.SIGINT: (-signal.SIGINT, 130, 0),
}
"""The signals that are sent, and the exit codes that a command may have after each."""
WEIGHTS = (8, 1, 1)
AGAIN = 0.3
"""How often a repeated command is killed, too."""
TAKEN = "exists already"
"""What a command says that was done but for its last breath when it was killed."""


@dataclass
class Tally:
    """What became of the kills of a scenario.

    Attributes:
        seconds: what the uninterrupted command takes.
        sent: how many signals of each kind were sent to a running command.
        missed: how often the command was quicker than the signal.
        kept: finished results that were there after a kill.
        problems: what was wrong, in words.
    """

    seconds: float = 0.0
    sent: Counter[str] = field(default_factory=Counter)
    missed: int = 0
    kept: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        """Signals that met a running command."""
        return sum(self.sent.values())


class Trial:
    """A command in an empty folder, killed and repeated."""

    def __init__(
        self, scenario: Scenario, world: Path, scratch: Path, launcher: Sequence[str] | None = None, brief: bool = False
    ) -> None:
        """`launcher` starts the command in a fresh interpreter, in place of a fork; a `brief` one does less."""
        self.scenario, self.here, self.notes = scenario, scratch / "here", scratch / "notes"
        self.words = scenario.command(world, brief)
        self.launcher = launcher or scenario.launcher or None

    def clear(self) -> None:
        """Begin again, with nothing there."""
        shutil.rmtree(self.here, ignore_errors=True)
        self.here.mkdir()

    def tree(self) -> Tree:
        """What is there."""
        return tree(self.here, self.scenario.exact)

    def start(self, around: Around = nullcontext) -> Command:
        """The command, started; `around` as for `child.start`."""
        return start(self.words, self.here, self.notes, self.launcher, around)

    def whole(self, tally: Tally) -> Tree:
        """What the uninterrupted command leaves; raises RuntimeError when it fails, or leaves something else twice.

        What it imports is in this process afterwards.
        """
        found = []
        for around in (noting_modules(self.notes), nullcontext):
            self.clear()
            ended = self.start(around).end()
            if ended.code:
                raise RuntimeError(f"{self.scenario.name}: exit {ended.code}: {ended.told}")
            tally.seconds = ended.seconds
            found.append(self.tree())
            if self.launcher is None:
                import_noted(self.notes)
        differing = places.difference(outcome(found[1]), outcome(found[0]))
        if differing:
            raise RuntimeError(f"{self.scenario.name}: done twice, not alike: {differing}")
        return found[1]


def survive(trial: Trial, kills: int, dice: random.Random) -> Tally:
    """Kill a command so many times; each time it is looked at, and in the end repeated and compared."""
    tally = Tally()
    whole = trial.whole(tally)
    while tally.kills < kills:
        trial.clear()
        before: dict[str, Tree] = {}
        while tally.kills < kills and _kill(trial, tally, dice):
            before = look(trial, tally, whole, before)
            if dice.random() > AGAIN:
                break
        finish(trial, tally, whole, before)
    return tally


def _kill(trial: Trial, tally: Tally, dice: random.Random) -> bool:
    """Start the command and kill it; False when it was done before."""
    command = trial.start()
    number = dice.choices(list(SIGNALS), WEIGHTS)[0]
    if (ended := command.wait(dice.uniform(0, tally.seconds))) is not None:
        tally.missed += 1
        if ended.code and TAKEN not in ended.told:
            tally.problems.append(f"repeated before a kill: exit {ended.code}: {ended.told[-500:]}")
        return False
    command.signal(number)
    ended = command.end()
    if number == signal.SIGKILL and ended.code == 0:  # it had ended between the two lines
        tally.missed += 1
        return False
    tally.sent[signal.Signals(number).name] += 1
    if ended.code not in SIGNALS[number] and TAKEN not in ended.told:
        tally.problems.append(f"{signal.Signals(number).name}: exit {ended.code}: {ended.told[-500:]}")
    check_words(ended, tally)
    return True


def check_words(ended: Ended, tally: Tally) -> None:
    """Note a traceback."""
    for word in ("Traceback", "Exception ignored", "unexpected "):
        if word in ended.told:
            tally.problems.append(f"exit {ended.code}, {word}: {ended.told[-3000:]}")
            return


def look(trial: Trial, tally: Tally, whole: Tree, before: dict[str, Tree]) -> dict[str, Tree]:
    """Check what a killed command left; returns the finished results."""
    found = trial.tree()
    tally.problems += [f"astray: {name}" for name in places.astray(found, whole, (*CACHE, *UNFINISHED))]
    finished = places.results(found, trial.scenario.results)
    expected = places.results(whole, trial.scenario.results)
    for name in found:
        try:
            if name.startswith("out/") and name.endswith("/metrics.json") and not places.temporary(name):
                read_run((trial.here / name).parent)
        except XpetError as error:
            tally.problems.append(f"no whole run: {error}")
    for name, held in finished.items():
        if differing := places.difference(held, expected.get(name, {})):
            tally.problems.append(f"looks finished but is not: {name}: {differing}")
    tally.problems += [f"lost: {name}" for name in before if name not in finished]
    tally.kept += len(finished)
    return finished


def finish(trial: Trial, tally: Tally, whole: Tree, before: dict[str, Tree], spared: Sequence[str] = ()) -> None:
    """Repeat the command undisturbed and compare with what one leaves that was never killed, but for what is spared."""
    look(trial, tally, whole, before)
    complete = not places.difference(outcome(trial.tree(), spared), outcome(whole))
    ended = trial.start().end()
    check_words(ended, tally)
    if ended.code and not (complete and TAKEN in ended.told):
        tally.problems.append(f"repeated: exit {ended.code}: {ended.told[-500:]}")
    found = trial.tree()
    tally.problems += [f"left behind: {name}" for name in found if places.temporary(name)]
    tally.problems += [f"astray in the end: {name}" for name in places.astray(found, whole, (*CACHE, *spared))]
    if differing := places.difference(outcome(found, spared), outcome(whole)):
        tally.problems.append(f"another result: {differing}")


def outcome(found: Tree, spared: Sequence[str] = ()) -> Tree:
    """What is not in the cache, nor temporary, nor spared."""
    return {
        name: held for name, held in found.items() if not places.fits(name, (*CACHE, *places.SYSTEM, *spared))
        and not places.temporary(name)
    }  # fmt: skip
