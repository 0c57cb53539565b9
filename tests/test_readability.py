"""What a newcomer needs in order to read the code: short functions, one meaning for each class name, stated shapes."""

from __future__ import annotations

import ast
import re
import statistics
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "xpet").rglob("*.py"))
TEXTS = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("xpet", "tests")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".py", ".md")
)
MOST_LINES = 50
STATE = re.compile(r"(?:Mapping|dict|Callable|Iterator)\[.*\]")
SHAPE = re.compile(r"\[|\bscalar\b|any shape")
TENSORS = ("Tensor", "NDArray", "ndarray")
ELSEWHERE = re.compile(r"\b(" + "|".join(("SPEC", "DESIGN", "FINDINGS", "HOUSE")) + r")\b")


def tree(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text(encoding="utf-8"), file)


def functions(module: ast.Module) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(module) if isinstance(node, ast.FunctionDef))


def lines(function: ast.FunctionDef) -> int:
    """Lines from `def` to the end, signature and docstring included."""
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1


def doubles(modules: dict[str, ast.Module]) -> dict[str, list[str]]:
    """Class names that several files, or one file several times, define."""
    where = defaultdict(list)
    for file, module in modules.items():
        for node in ast.walk(module):
            if isinstance(node, ast.ClassDef):
                where[node.name].append(file)
    return {name: files for name, files in where.items() if len(files) > 1}


def takes_tensors(function: ast.FunctionDef) -> bool:
    """Whether tensors stand in the signature; a state (name -> tensor) has the shapes of the tower's weights."""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    annotations = [argument.annotation for argument in arguments] + [function.returns]
    texts = (STATE.sub("", ast.unparse(annotation)) for annotation in annotations if annotation is not None)
    return any(name in text for text in texts for name in TENSORS)


def public_functions(node: ast.AST) -> Iterator[ast.FunctionDef]:
    """Functions and methods without a leading underscore; what a function defines inside itself is its own affair."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef):
            if not child.name.startswith("_"):
                yield child
        else:
            yield from public_functions(child)


def has_body(function: ast.FunctionDef) -> bool:
    return ast.unparse(function.body[0]) != "..."


def without_shapes(module: ast.Module) -> list[str]:
    """Public functions of tensors whose docstring has no shape such as [captions, d]; members of a protocol aside."""
    tensors = [function for function in public_functions(module) if takes_tensors(function) and has_body(function)]
    return [function.name for function in tensors if not SHAPE.search(ast.get_docstring(function) or "")]


def test_functions_are_short() -> None:
    lengths = {f"{file}: {f.name}": lines(f) for file in FILES for f in functions(tree(file))}
    assert not {name: length for name, length in lengths.items() if length > MOST_LINES}
    ordered = sorted(lengths.values())
    assert statistics.median(ordered) <= 7
    assert ordered[int(0.9 * len(ordered))] <= 20


def test_a_class_name_means_one_thing() -> None:
    assert not doubles({file: tree(file) for file in FILES})


def test_doubles_are_seen() -> None:
    one, other = ast.parse("class Pairs: ..."), ast.parse("def f():\n    class Pairs: ...")
    assert doubles({"a.py": one, "b.py": other}) == {"Pairs": ["a.py", "b.py"]}


@pytest.mark.parametrize("file", FILES)
def test_functions_of_tensors_state_shapes(file: str) -> None:
    assert not without_shapes(tree(file))


def test_missing_shapes_are_seen() -> None:
    silent = ast.parse('def norm(x: Tensor) -> Tensor:\n    """Rows of length 1."""')
    stated = ast.parse('def norm(x: Tensor) -> Tensor:\n    """Rows of length 1, [rows, d]."""')
    assert without_shapes(silent) == ["norm"]
    assert not without_shapes(stated)


@pytest.mark.parametrize("file", TEXTS)
def test_only_what_the_repository_holds_is_cited(file: str) -> None:
    if file in ("tests/test_readability.py", "tests/test_pages.py"):
        return
    cited = [line for line in (ROOT / file).read_text(encoding="utf-8").splitlines() if ELSEWHERE.search(line)]
    assert not cited
