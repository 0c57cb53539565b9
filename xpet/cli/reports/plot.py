"""Pictures of a report through matplotlib: a dumbbell per language, and recall and range against trained parameters.

Drawn without pyplot, so no window system is touched; the same report gives the same bytes. Systems differ in colour
(Okabe and Ito's, told apart by colour-blind readers) and in marker; labels are language codes, which every font has.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from xpet.cli.printable import clean
from xpet.cli.reports.cells import positive_zero
from xpet.cli.reports.sections import difference, labels, ordered
from xpet.core.estimates import Estimate
from xpet.jobs.results.report import Report, System

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture

COLOURS = ("#7f7f7f", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("o", "D", "s", "^", "v", "P", "X")
FLAT = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
"""Metadata to leave out by format, since it would make the bytes depend on day and version."""
DPI = 160
"""Dots per inch of a PNG."""
LONGEST = 40
"""Most characters of a name in the picture."""
SETTINGS: dict[str, Any] = {
    "svg.hashsalt": "xpet", "text.parse_math": False, "font.size": 10, "axes.spines.top": False,
    "axes.spines.right": False, "axes.titlesize": 11, "axes.titlelocation": "left",
    "figure.constrained_layout.use": True,
}  # fmt: skip


def render(report: Report, kind: str) -> bytes:
    """The picture as `png`, `svg` or `pdf` on white: dumbbells, and below recall against parameters where known."""
    with _style():
        rows = 2 if _priced(report) else 1
        heights = [_height(report), 3.4][:rows]
        picture = _picture(7.2, sum(heights))
        parts = picture.subfigures(rows, 1, height_ratios=heights, squeeze=False)[:, 0]
        _dumbbells(report, parts[0])
        if rows == 2:
            _tradeoff(report, parts[1])
        return _save(picture, kind)


def inline(report: Report) -> list[str]:
    """The same plots as SVGs for an HTML page: transparent, with text as text, in the colour of the page's text."""
    with _style({"svg.fonttype": "none", **dict.fromkeys(INKS, INK)}):
        pictures = [_picture(7.2, _height(report))]
        _dumbbells(report, pictures[0])
        if _priced(report):
            pictures.append(_picture(7.2, 3.4))
            _tradeoff(report, pictures[1])
        return [_save(p, "svg", transparent=True).decode().replace(INK, "currentColor") for p in pictures]


INK = "#010203"
"""A colour that nothing else has, which is replaced by the page's."""
INKS = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")


@contextmanager
def _style(more: dict[str, Any] | None = None) -> Iterator[None]:
    import warnings

    import matplotlib as mpl

    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        settings: Any = {**SETTINGS, **(more or {})}
        mpl.rcParams.update(settings)
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # names of systems in scripts the font lacks
        yield


def _picture(width: float, height: float) -> Picture:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def _save(picture: Picture, kind: str, transparent: bool = False) -> bytes:
    out = io.BytesIO()
    picture.savefig(out, format=kind, dpi=DPI, metadata=FLAT[kind], transparent=transparent)
    return out.getvalue()


def _height(report: Report) -> float:
    return 1.6 + 0.3 * len(ordered(report))


def _priced(report: Report) -> list[System]:
    """The systems with trained parameters; none unless there are at least two to compare."""
    priced = [s for s in report.systems if s.cost and s.cost.trainable]
    return priced if len(priced) > 1 else []


def _dumbbells(report: Report, part: Any) -> None:
    """Draw R@1 per language: a row of dots, one per system, joined where there are two."""
    axes, names = part.add_subplot(), ordered(report)
    english = report.systems[0].languages.get("en")
    if english:
        axes.axvline(english.mean.r1.value, color=COLOURS[0], linestyle=":", linewidth=1, zorder=0)
    apart = 0.16 if len(report.systems) < 4 else 0.6 / len(report.systems)
    middle = (len(report.systems) - 1) / 2
    for number, system in enumerate(report.systems):
        _dots(axes, system, names, number, (number - middle) * apart)
    if len(report.systems) == 2:
        _joined(report, axes, names)
    elif len(report.systems) == 1:
        _valued(report.systems[0], axes, names)
    axes.set_yticks(range(len(names)), [_short(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(*_limits(report))
    axes.set_xticks([tick for tick in axes.get_xticks() if axes.get_xlim()[0] <= tick <= 100])
    axes.set_xlabel("R@1 in percent, mean of both directions")
    axes.grid(axis="x", color=COLOURS[0], alpha=0.25, linewidth=0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_title(f"R@1 per language, {report.images:,} test images of {_short(report.data)}")
    if len(report.systems) > 1:
        _legend(part, len(report.systems))
    _footer(report, part)


def _limits(report: Report) -> tuple[float, float]:
    """Limits of the R@1 axis: a multiple of ten below everything, and room for labels above everything."""
    figures = [s.mean.r1 for system in report.systems for s in system.languages.values()]
    low = min(f.value if f.low is None else f.low for f in figures)
    high = max(f.value if f.high is None else f.high for f in figures)
    start = max(0.0, 10 * (low // 10))
    return start, high + 0.12 * (high - start) + 1


def _dots(axes: Axes, system: System, names: Sequence[str], number: int, shift: float) -> None:
    """Draw one system, at index `number`: a dot per language and its interval as a thin line, moved by `shift` rows."""
    colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
    dots = [(row + shift, system.languages[n].mean.r1) for row, n in enumerate(names) if n in system.languages]
    for row, figure in dots:
        if figure.low is not None and figure.high is not None:
            axes.plot([figure.low, figure.high], [row, row], color=colour, linewidth=1, alpha=0.7, zorder=2)
    axes.plot([f.value for _, f in dots], [row for row, _ in dots], marker, color=colour, markersize=5.5,
              linestyle="none", zorder=3, label=_short(system.name))  # fmt: skip


def _short(name: str) -> str:
    name = clean(name)
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}\u2026"


def _joined(report: Report, axes: Axes, names: Sequence[str]) -> None:
    """Draw the bar between the dots of two systems, and the change beside it."""
    first, second = report.systems
    for row, name in enumerate(names):
        delta = difference(report, second, name)
        if delta is None or not all(name in system.languages for system in (first, second)):
            continue
        old, new = first.languages[name].mean.r1, second.languages[name].mean.r1
        axes.plot([old.value, new.value], [row, row], color=COLOURS[1], alpha=0.45, linewidth=3, zorder=1)
        sure = "*" if delta.significant else ""
        _beside(axes, row, [old, new], positive_zero(f"{delta.r1.value:+.1f}") + sure)


def _valued(system: System, axes: Axes, names: Sequence[str]) -> None:
    """Write the value beside each dot of a single system."""
    for row, name in enumerate(names):
        if name in system.languages:
            figure = system.languages[name].mean.r1
            _beside(axes, row, [figure], f"{figure.value:.1f}")


def _beside(axes: Axes, row: float, figures: Sequence[Estimate], words: str) -> None:
    right = max(f.value if f.high is None else f.high for f in figures)
    axes.annotate(words, (right, row), xytext=(6, 0), textcoords="offset points", va="center", fontsize=9)


def _legend(part: Any, systems: int) -> None:
    part.legend(loc="outside upper left", ncols=min(systems, 4), frameon=False, handletextpad=0.3, fontsize=9)


def _footer(report: Report, part: Any) -> None:
    from xpet.jobs.results.synthetic import SYNTHETIC

    sentences = [SYNTHETIC[0].upper() + SYNTHETIC[1:] + "."] if report.synthetic else []
    if any(s.mean.r1.low is not None for system in report.systems for s in system.languages.values()):
        sentences.append("Thin lines: 95 % intervals.")
    if "en" in report.systems[0].languages:
        sentences.append("Dotted: English.")
    if len(report.systems) == 2 and any(d.significant for c in report.comparisons for d in c.languages.values()):
        sentences.append("*: significant.")
    if sentences:
        part.supxlabel("\n".join([sentences[0], " ".join(sentences[1:])]).strip(), fontsize=8, x=0.01, ha="left")


def _tradeoff(report: Report, part: Any) -> None:
    """Mean and range of R@1 against the share of parameters trained, one dot per system."""
    panels = part.subplots(1, 2)
    priced = _priced(report)
    for axes, name, title in zip(panels, ("mean", "range"), ("mean R@1: more is better", "range: less is better"),
                                 strict=True):  # fmt: skip
        axes.axhline(getattr(report.systems[0].spread, name).value, color=COLOURS[0], linestyle=":", linewidth=1)
        for system in priced:
            _priced_dot(axes, report, system, getattr(system.spread, name))
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")  # the default one needs mathematical text, which is switched off
        axes.xaxis.set_minor_formatter("")
        axes.margins(x=0.25, y=0.2)
        axes.set_xlabel("trained parameters, percent (log)")
        axes.set_title(title)
        axes.grid(color=COLOURS[0], alpha=0.25, linewidth=0.6)
    reference = labels(report)[report.systems[0].name]
    part.supxlabel(f"Dotted: {reference}.", fontsize=8, x=0.01, ha="left")


def _priced_dot(axes: Axes, report: Report, system: System, figure: Estimate) -> None:
    assert system.cost is not None
    number = list(report.systems).index(system)
    colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
    share = system.cost.share
    if figure.low is not None and figure.high is not None:
        axes.plot([share, share], [figure.low, figure.high], color=colour, linewidth=1, alpha=0.7)
    axes.plot([share], [figure.value], marker, color=colour, markersize=6)
    axes.annotate(labels(report)[system.name], (share, figure.value), xytext=(6, 4), textcoords="offset points",
                  fontsize=8)  # fmt: skip
