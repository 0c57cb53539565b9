"""The training routines as rows of one table (paper, section 3.2; `text` is xpet's own)."""

from __future__ import annotations

from dataclasses import dataclass

from xpet.core.errors import ConfigError, unknown


@dataclass(frozen=True)
class Routine:
    """Which text the student reads, what it is aligned with, and which text is searched with afterwards.

    `text_only`: trained on English lines and their translations, against features of the frozen base; there are no
    pictures, so no image-text loss unless it is asked for.
    """

    name: str
    student: str
    anchor: str | None
    evaluation: str
    summary: str
    text_only: bool = False

    @property
    def translates_queries(self) -> bool:
        """Whether serving needs machine translation of every query."""
        return self.evaluation == "to_pivot"

    @property
    def slots(self) -> tuple[str, ...]:
        """Every text slot of the data's captions that the routine reads."""
        read = (self.evaluation,) if self.text_only else (self.student, self.anchor, self.evaluation)
        return tuple(dict.fromkeys(s for s in read if s))


ROUTINES = {
    routine.name: routine
    for routine in (
        Routine("baseline-target", "target", None, "target", "image loss on natural target captions"),
        Routine("baseline-translated", "to_pivot", None, "to_pivot", "image loss on captions translated to English"),
        Routine("routine1", "target", "pivot", "target", "natural target captions aligned with natural English"),
        Routine("routine2", "target", "from_pivot", "target", "natural target aligned with English translated to it"),
        Routine(
            "routine3", "to_pivot", "pivot", "to_pivot", "captions translated to English aligned with natural English"
        ),
        Routine(
            "text",
            "from_pivot",
            "pivot",
            "target",
            "English lines, translated, aligned with the frozen English",
            text_only=True,
        ),
    )
}
"""The routines by name."""
SHORT = {"1": "routine1", "2": "routine2", "3": "routine3"}
"""Short names in `--routine`."""


def find_routine(name: str) -> Routine:
    """The routine of a name or of its short form 1, 2, 3; raises ConfigError listing the known."""
    routine = ROUTINES.get(SHORT.get(name, name))
    if routine is None:
        raise ConfigError(unknown("routine", name, [*ROUTINES, *SHORT]))
    return routine
