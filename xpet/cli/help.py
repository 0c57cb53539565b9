"""Help of a command: its options in sections, the common ones or all, without loading rich."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from xpet.cli import view
from xpet.cli.command import Command
from xpet.core.config.options import SETTINGS, OptionField

ALL = "xpet.help_all"
"""Key in typer's context that says whether every option is shown."""
SWITCHES_OFF = "Each switch has a --no- form too, which turns off what a file or an environment variable turns on."


def _show_all(context: typer.Context, requested: bool) -> None:
    if requested:
        context.meta[ALL] = True
        view.line(context.get_help())
        raise typer.Exit


HelpAll = Annotated[
    bool, typer.Option("--help-all", help="Show every option and exit.", callback=_show_all, is_eager=True)
]


def help_of(command: Command) -> type[TyperCommand]:
    """The class that typer is to make of a command, so that its help has sections."""

    class Sections(TyperCommand):
        """A command whose help has sections."""

        def collect_usage_pieces(self, ctx: Any) -> list[str]:
            arguments = [str(e.option.metavar) for e in command.entries.values() if not e.option.flags]
            return [*arguments, "[OPTIONS]"]

        def format_options(self, ctx: Any, formatter: Any) -> None:
            whole = bool(ctx.meta.get(ALL))
            sections = dict(_sections(command, whole))
            width = max(len(name) for rows in sections.values() for name, _ in rows)
            for title, rows in sections.items():
                with formatter.section(title):
                    formatter.write_dl([(name.ljust(width), text) for name, text in rows], col_max=40)

        def format_epilog(self, ctx: Any, formatter: Any) -> None:
            super().format_epilog(ctx, formatter)
            end = SWITCHES_OFF if ctx.meta.get(ALL) else f"Every option: xpet {command.name} --help-all"
            formatter.write_paragraph()
            formatter.write_text(end)

    return Sections


def _sections(command: Command, whole: bool) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Title and rows of each section that has something to show; arguments come first."""
    entries = [entry for entry in command.entries.values() if whole or entry.option.common or not entry.option.flags]
    entries.sort(key=lambda entry: bool(entry.option.flags))
    for title in command.sections:
        rows = [_row(entry) for entry in entries if entry.option.section == title]
        if title == SETTINGS:
            rows += [("-h, --help", "Show the common options and exit"), ("--help-all", "Show every option and exit")]
        if rows:
            yield title, rows


def _row(entry: OptionField) -> tuple[str, str]:
    """An option as it is typed, with the word for its value, and its help."""
    if not entry.option.flags:
        return str(entry.option.metavar), entry.help
    flags = (entry.flag,) if entry.is_negative else (*entry.option.flags[1:], entry.option.flags[0])
    word = entry.option.metavar or entry.kind.metavar
    return f"{', '.join(flags)} {word}".rstrip(), entry.help
