"""What a page of the repository must hold; each check returns the problems it found.

A page is a Markdown file. Code is fenced; a span between single backticks is a name, an option, a path or a command.
"""

from __future__ import annotations

import ast
import re
import shlex
import sys
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import typer

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from xpet.cli.app import app

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("xpet", "tests", "completions")
FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
LINK = re.compile(r"!?\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
SHELLS = ("sh", "bash", "console")
ENDS = ("&&", "||", "|", ";", "&", "<", ">", ">>", "2>")
"""Where a command ends in a shell's line."""
PATH = re.compile(r"(?:xpet|tests|completions|\.ci|\.github)/[\w./-]*")
FOLDER = re.compile(r"[a-z][\w.-]*(?:/[\w.-]+)*/")
DOTTED = re.compile(r"xpet(?!\.toml)(?:\.\w+)+")
NAMED = re.compile(r"([\w./-]+\.py)(?::(\w+))?")
OPTION = re.compile(r"--[a-z][a-z0-9-]*")
PARSED = ("NoSuchOption", "BadParameter", "UsageError", "NoSuchCommand")


def pages() -> list[Path]:
    """Every page of the repository, the front page first."""
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md")]
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(found)]


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """Language and content of every fenced block, freed of the indentation of its list."""
    for found in FENCE.finditer(text):
        yield found[2], textwrap.dedent(found[3])


def prose(text: str) -> str:
    """The text without its fenced blocks."""
    return FENCE.sub("", text)


def spans(text: str) -> list[str]:
    """What stands between single backticks, outside of fenced blocks, on one line."""
    return [" ".join(span.split()) for span in SPAN.findall(prose(text))]


def anchors(text: str) -> set[str]:
    """The names that GitHub gives to the headings of a page."""
    seen: dict[str, int] = {}
    for heading in HEADING.findall(prose(text)):
        plain = re.sub(r"[^\w\- ]", "", LINK.sub(r"\1", heading).lower()).replace(" ", "-")
        seen[plain] = seen.get(plain, -1) + 1
    return {name if not number else f"{name}-{number}" for name, count in seen.items() for number in range(count + 1)}


def broken_links(page: Path, text: str) -> list[str]:
    """Relative links to files or headings that are not there, and pictures that only the web would show."""
    problems = []
    for found in LINK.finditer(SPAN.sub("", prose(text))):
        target = found[2]
        if re.match(r"(https?|mailto):", target):
            problems += [f"{target}: a picture needs a relative link"] if found[0].startswith("!") else []
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if name and not (file.exists() and file.is_relative_to(ROOT)):
            problems.append(f"{target}: no such file")
        elif anchor and (file.suffix != ".md" or anchor not in anchors(file.read_text("utf-8") if name else text)):
            problems.append(f"{target}: no such heading")
    return problems


def command_lines(text: str) -> Iterator[list[str]]:
    """The words of every `xpet ...` command in fenced blocks of a shell, continued lines joined."""
    for language, block in blocks(text):
        if language not in SHELLS:
            continue
        lines = block.replace("\\\n", " ").splitlines()
        for line in lines if language != "console" else [x[2:] for x in lines if x.startswith("$ ")]:
            yield from commands(line)


def commands(line: str) -> Iterator[list[str]]:
    """The words of every `xpet ...` command of one line, without redirections and comments."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word not in ENDS:
            words.append(word)
            continue
        while words and re.match(r"[A-Z_]+=", words[0]):
            words = words[1:]  # variables of the environment
        words = without_launcher(words)
        if words and words[0] == "xpet":
            yield words
        words = ["<"] if word in ("<", ">", ">>", "2>") else []


def without_launcher(words: list[str]) -> list[str]:
    """A command without what starts it: `nohup`, `srun`, or a launcher that takes `-m xpet`."""
    if words[:1] and words[0] in ("nohup", "srun"):
        return words[1:]
    if words[:1] and words[0] in ("torchrun", "accelerate") and "-m" in words:
        return words[words.index("-m") + 1 :]
    return words


@cache
def command_line() -> Any:
    """The real command line."""
    return typer.main.get_command(app)


def misfit(words: list[str], whole: bool = True) -> str | None:
    """Why the real command line would not take a command; it is parsed, not run.

    Of a command that is no `whole` line, arguments and values may be left out.
    """
    group = command_line()
    try:
        context = group.make_context("xpet", list(words[1:]))
        rest = [*context._protected_args, *context.args]
        if rest:
            name, command, rest = group.resolve_command(context, rest)
            command.make_context(name, rest, parent=context)
    except (typer.Exit, SystemExit):  # --help, --version
        return None
    except Exception as error:
        lenient = not whole and type(error).__name__ in ("MissingParameter", "BadOptionUsage", "NoArgsIsHelpError")
        told = getattr(error, "format_message", error.__str__)()
        return None if lenient else f"{shlex.join(words)}: {told}"
    return None


def bad_commands(text: str) -> list[str]:
    """Commands of a page, in blocks and in spans, that the real command line would not take."""
    found = [misfit(words) for words in command_lines(text)]
    for span in spans(text):
        if span.startswith("xpet ") and "..." not in span:
            found += [misfit(words, whole=False) for words in commands(span)]
    return [problem for problem in found if problem]


def options() -> set[str]:
    """Every long option of every command."""
    group = command_line()
    every = [group, *group.commands.values()]
    params = [parameter for command in every for parameter in command.params]
    return {name for parameter in params for name in (*parameter.opts, *parameter.secondary_opts)}


def bad_settings(text: str) -> list[str]:
    """Tables and keys in blocks of TOML that are no command and no option of it."""
    problems = []
    for language, block in blocks(text):
        if language == "toml":
            for name, table in tomllib.loads(block).items():
                command = command_line().commands.get(name)
                known = [] if command is None else [flag for each in command.params for flag in each.opts]
                problems += [f"[{name}] {key}: no such option" for key in table if f"--{key}" not in known]
    return problems


def unknown_options(text: str) -> list[str]:
    """Options named in spans that no command has."""
    known = options()
    return [f"{name}: no command has it" for span in spans(text) for name in OPTION.findall(span.split(" ")[0])
            if span.startswith("--") and name not in known]  # fmt: skip


def bad_python(text: str) -> list[str]:
    """Blocks of Python that do not compile, or that name what xpet does not offer."""
    problems = []
    for language, block in blocks(text):
        if language != "python":
            continue
        try:
            tree = ast.parse(block)
        except SyntaxError as error:
            problems.append(f"{error.text}: {error.msg}")
            continue
        names = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        problems += [f"{name}: no such name" for name in names if name.count(".") == 1 and not _offers(name)]
    return problems


def _offers(name: str) -> bool:
    """Whether a name `xpet.NAME` is one of the Python API's; other names are not judged."""
    import xpet

    return not name.startswith("xpet.") or name.split(".")[1] in xpet.__all__


def missing_paths(page: Path, text: str) -> list[str]:
    """Paths, modules and functions named in spans that are not there."""
    return [f"{span}: not there" for span in spans(text) if not _is_there(page, span)]


def _is_there(page: Path, span: str) -> bool:
    named = NAMED.fullmatch(span)
    if "NAME" in span:  # a file that the reader is to name
        return True
    if named:
        files = [path for path in (page.parent / named[1], ROOT / named[1]) if path.is_file()]
        return bool(files) and (named[2] is None or named[2] in names_in(files[0]))
    if PATH.fullmatch(span):
        return (ROOT / span).exists()
    if FOLDER.fullmatch(span):
        return any((base / span).is_dir() for base in (page.parent, ROOT))
    return _is_module(span.split(".")) if DOTTED.fullmatch(span) else True


def _is_module(parts: list[str]) -> bool:
    """Whether a dotted name is a room, a module, or a name in one."""
    for count in range(len(parts), 0, -1):
        path, rest = ROOT.joinpath(*parts[:count]), parts[count:]
        if path.with_suffix(".py").is_file():
            return not rest or rest[0] in names_in(path.with_suffix(".py"))
        if path.is_dir():
            import xpet

            offered = set(xpet.__all__) if count == 1 else names_in(path / "__init__.py")
            return not rest or rest[0] in offered
    return False


@cache
def names_in(file: Path) -> set[str]:
    """What a module defines or imports at its top, and the methods of its classes."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    return names


def sentences(text: str) -> Iterator[str]:
    """The sentences of a page: no code, tables or headings; a span counts as one word."""
    plain = SPAN.sub("CODE", LINK.sub(r"\1", prose(text)))
    kept = [line for line in plain.splitlines() if not re.match(r"\s*(\||#|<|---)", line)]
    starts = re.compile(r"^\s*(?:[-*]|\d+\.) +", re.MULTILINE)
    for paragraph in re.split(r"\n\s*\n", starts.sub("\n\n", "\n".join(kept))):
        yield from (part for part in re.split(r"(?<=[.!?])[*_)\"]*\s+", " ".join(paragraph.split())) if part)


def long_sentences(text: str, most: int) -> list[str]:
    """Sentences of more than so many words."""
    words = ((sentence, len(re.findall(r"[^\s]*\w[^\s]*", sentence))) for sentence in sentences(text))
    return [f"{count} words: {sentence}" for sentence, count in words if count > most]


def unnamed_modules(page: Path, text: str) -> list[str]:
    """Modules beside a page that it does not name."""
    modules = [path.name for path in sorted(page.parent.glob("*.py")) if not path.name.startswith("__")]
    return [f"{module}: not named" for module in modules if f"`{module}" not in text]


def unnamed_rooms(text: str) -> list[str]:
    """Folders of code in xpet/ that a page does not name as `FOLDER/`."""
    rooms = [path.name for path in sorted((ROOT / "xpet").iterdir()) if path.is_dir() and any(path.glob("*.py"))]
    return [f"{room}/: not named" for room in rooms if f"`{room}/`" not in text and f"`{room}/" not in text]
