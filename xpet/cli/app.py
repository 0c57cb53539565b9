"""The command line as a whole: the commands, `--version`, and the handler that turns errors into exit codes."""

from __future__ import annotations

import errno
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Annotated, Any

import typer

from xpet.cli import align, completions, launcher, log_file, merge, settings, show_config, streams, translate, view
from xpet.cli import eval as evaluation
from xpet.cli.command import Command
from xpet.cli.help import HelpAll, help_of
from xpet.cli.printable import visible
from xpet.cli.settings import Request
from xpet.core.collector import process_is_ours
from xpet.core.errors import (
    EXIT_BAD_INPUT,
    EXIT_INTERRUPTED,
    EXIT_UNEXPECTED,
    PeerError,
    RankError,
    StoppedError,
    XpetError,
    XpetWarning,
    quoted,
)
from xpet.core.launch import launch_of
from xpet.core.stopping import Stopped, catching
from xpet.version import VERSION

EXIT_CODES = """\
Start with: xpet align --lang de

Exit codes: 0 done, 1 unexpected error, 2 bad input, 3 a limit of xpet eval was broken, 130 interrupted,
143 stopped by SIGTERM or SIGUSR1.
"""
INTERRUPTED = "interrupted; what was finished is kept, nothing half-written is left"

app = typer.Typer(
    name="xpet", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)  # fmt: skip


def _version(requested: bool) -> None:
    if requested:
        view.line(f"xpet {VERSION}")
        raise typer.Exit


def _help(context: typer.Context, requested: bool) -> None:
    if requested:
        view.line(context.get_help())
        raise typer.Exit


@app.callback(epilog=EXIT_CODES)
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
    # Spelled out, since typer 0.29 loads pydantic for its own --help: that takes as long as all the rest of help.
    help_: Annotated[
        bool, typer.Option("-h", "--help", help="Show this message and exit.", callback=_help, is_eager=True)
    ] = False,
) -> None:
    """Lift the weak languages of a multilingual CLIP with a tiny module per language, and measure the disparity."""


COMMANDS: dict[Command, Callable[[Request], None]] = {
    align.COMMAND: align.run,
    evaluation.COMMAND: evaluation.run,
    merge.COMMAND: merge.run,
    translate.COMMAND: translate.run,
}


def offer(command: Command, run: Callable[[Request], None], where: typer.Typer) -> None:
    """Add a command to the command line: with all its options, its help, and what it runs."""

    def answer(given: Mapping[str, Any]) -> None:
        typed = command.typed(given)
        if "show-config" not in typed:  # which runs nothing
            log_file.current().open(typed.get("log-file"))  # before settings, whose errors belong into it
        request = settings.read(command, [each.name for each in COMMANDS], given)
        if request["show-config"]:
            shown = show_config.shown_config(request)
            view.show(shown.blocks(), shown, request["json"])
            return
        if "processes" not in command.entries:
            if launch_of().rank > 0:  # the first process does it
                return
        elif launcher.is_wanted(request["processes"]):
            log_file.current().open(request["log-file"])
            raise launcher.SeveralProcesses(request["processes"])
        log_file.current().open(request["log-file"])
        if not request["quiet"] and not request.is_typed("config"):
            for source, options in request.sources.items():
                view.note(f"settings from {source}: {', '.join(options)}")
            for key, source in request.left_out.items():
                owner = command.entries[key].option.owner
                view.note(f"left out: {key} of {source}" + (f", which belongs to {owner.in_words}" if owner else ""))
        _run_stoppable(run, request)

    add = where.command(command.name, epilog=command.examples, short_help=command.summary, cls=help_of(command))
    add(command.function(answer, help_all=HelpAll))


for _command, _run_command in COMMANDS.items():
    offer(_command, _run_command, app)


def _run_stoppable(run: Callable[[Request], None], request: Request) -> None:
    """Run a command; raises StoppedError where a signal stops it, for typer would forget which one it was.

    That is so, too, where a library made an error of its own of the signal.
    """
    try:
        with catching() as signals:
            try:
                run(request)
            except Exception:
                signals.check()
                raise
    except Stopped as stopped:
        raise StoppedError(str(stopped), stopped.exit_code) from stopped


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; every error becomes one line on stderr and a documented exit code."""
    if arguments is None:
        process_is_ours()
        arguments = sys.argv[1:]
    streams.open_closed()
    with streams.guarded():
        code = _run(arguments)
    streams.flush_or_drop()
    sys.exit(code)


def _set_up_warnings() -> None:
    """Have the view show xpet's own warnings, one line each, and hide those of Pillow."""
    others = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, XpetWarning):
            view.warning(str(message))
        else:
            log_file.current().tell(f"{category.__name__}: {message}", view.WARNING)
            others(visible(str(message)), category, *where, **more)

    warnings.showwarning = show
    if not sys.warnoptions:  # Pillow warns of large pictures and damaged EXIF; what matters becomes an error
        warnings.filterwarnings("ignore", module=r"PIL\.")


def _run(arguments: list[str]) -> int:
    quiet = streams.silenced() if _is_behind_the_first() else nullcontext()
    with warnings.catch_warnings(), quiet, log_file.logged(arguments, view.warn_only) as log:
        _set_up_warnings()
        code = _exit_code(arguments)
        log.close(code)
        return code


def _is_behind_the_first() -> bool:
    """Whether this is one of several processes, and not the one that reports; torch's log of lost peers is silenced."""
    try:
        launch = launch_of()
    except XpetError:  # the command tells it
        return False
    if launch.world > 1:
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    return launch.rank > 0


def _exit_code(arguments: list[str]) -> int:
    """Run the command line and return its exit code; with --debug errors are raised."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    completions.prepare()
    try:
        launch_of()
        code = _answer(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where a closed pipe is expected
        return code if isinstance(code, int) else 0
    except XpetError as error:
        if "--debug" in arguments:
            raise
        return _expected(error)
    except (KeyboardInterrupt, typer.Abort):
        view.error(INTERRUPTED)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return 0
    except SystemExit as error:  # click turns a broken pipe into this
        if isinstance(error.__context__, BrokenPipeError):
            return 0
        raise
    except Exception as error:
        return _unexpected(error, "--debug" in arguments)


def _answer(arguments: list[str]) -> Any:
    """Run the command line, here or in several processes; returns what typer or the processes answer."""
    try:
        code = app(arguments or ["--help"], standalone_mode=False, prog_name="xpet")
        if code == EXIT_INTERRUPTED:  # typer's answer to Ctrl-C
            raise KeyboardInterrupt
        return code
    except launcher.SeveralProcesses as wanted:
        count = wanted.count
    return launcher.launch(count, arguments)


def _expected(error: XpetError) -> int:
    """Report one of xpet's errors, unless another process of this command has done so, and return its exit code."""
    if isinstance(error, RankError):
        streams.speak_up()
    if not isinstance(error, PeerError):
        view.error(str(error))
    return error.exit_code


def _unexpected(error: Exception, debug: bool) -> int:
    """Report an error that is none of xpet's, bad usage among them, and return the exit code."""
    usage = getattr(error, "format_message", None)
    if usage is not None:  # what typer raises for options it does not know or cannot read
        view.error(f"{usage()} Try 'xpet --help'.")
        return int(getattr(error, "exit_code", EXIT_UNEXPECTED))
    if debug:
        raise error
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:  # in Python 3.10 and 3.11, of any path
        view.error(f"expected the path of a file or folder, found {quoted(error.filename)}: {error.strerror}")
        return EXIT_BAD_INPUT
    view.error(
        f"unexpected {type(error).__name__}: {error}; add --debug for the traceback and report it, please", error
    )
    return EXIT_UNEXPECTED
