"""The walls (xpet/README.md): which room imports which, who may use what, and what importing xpet loads."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "xpet"
MIDDLE = {"training", "methods", "models", "data", "translation", "demo"}
ALLOWED = {
    "cli": {"jobs", "core"},
    "jobs": MIDDLE | {"core"},
    **{room: {"core"} for room in MIDDLE},
    "core": set(),
    "__init__": {"core", "jobs"},
    "__main__": {"cli"},
    "version": set(),
}
COMMANDS = ("align", "eval", "merge", "translate", "encoder")
JOBS = {
    **{command: {command, "shared", "results"} for command in COMMANDS},
    "shared": {"shared", "results"},
    "results": {"results"},
    "__init__": set(),
}
"""Folders of jobs, and those each may import."""
EXCEPTIONS = {
    "xpet/demo/build.py": {"models"},  # rebuilds the shipped towers; run by hand, imported by no other room
    "xpet/demo/pretrain.py": {"models"},  # trains them for build.py
    "xpet/demo/packages.py": set(),  # trains the translation packages for build.py
    "xpet/demo/seq2seq.py": set(),  # their model, written for CTranslate2
    "xpet/demo/sheet.py": set(),  # a script: writes README's table to stdout
}
ONLY_IN = {
    "typer": ("xpet/cli/",),
    "rich": ("xpet/cli/",),
    "tabulate": ("xpet/cli/",),
    "matplotlib": ("xpet/cli/reports/plot.py",),
    "transformers": ("xpet/models/", "xpet/methods/bridge.py"),
    "opendelta": ("xpet/methods/bridge.py",),
    "accelerate": ("xpet/training/",),
    "argostranslate": ("xpet/translation/",),
    "filelock": ("xpet/data/locking.py",),
    "huggingface_hub": ("xpet/models/hub.py",),
    "ctranslate2": ("xpet/translation/",),
    "sacrebleu": ("xpet/translation/",),
    "onnx": ("xpet/models/",),
    "onnxruntime": ("xpet/models/",),
    "peft": (),
    "triton": ("xpet/core/kernels/",),
    "sentence_transformers": (),
}
PRINTER = "xpet/cli/view.py"
HEAVY = (
    "torch", "transformers", "opendelta", "accelerate", "argostranslate", "pyarrow", "numpy", "pandas", "PIL",
    "safetensors", "tokenizers", "ctranslate2", "sentencepiece", "sacrebleu", "matplotlib",
    "onnx", "onnxruntime", "peft", "sentence_transformers", "triton",
)  # fmt: skip
IMPORT_NAMES = {"pillow": "PIL"}
"""Distributions whose import has another name than theirs, `-` read as `_`."""
NEVER_IMPORTED = {"sklearn"}  # a requirement of opendelta
BROUGHT = {"triton"}
"""What torch's builds for GPUs bring, and others do without."""
FILES = sorted(path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*.py"))
EVERY_FILE = pytest.mark.parametrize("file", FILES)


@cache
def tree(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text(encoding="utf-8"), file)


def imported(node: ast.AST) -> Iterator[str]:
    """Dotted names an import statement, or importlib.import_module with a literal, asks for."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "relative imports are banned"
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("import_module", "__import__"):
        yield from (a.value for a in node.args[:1] if isinstance(a, ast.Constant) and isinstance(a.value, str))


@cache
def imports(file: str) -> frozenset[str]:
    """Every dotted name a file imports anywhere, inside functions and under TYPE_CHECKING too."""
    names = {name for node in ast.walk(tree(file)) for name in imported(node)}
    if file == "xpet/__init__.py":  # its lazy table
        texts = (n.value for n in ast.walk(tree(file)) if isinstance(n, ast.Constant) and isinstance(n.value, str))
        names |= {t for t in texts if t.startswith("xpet.") and t.replace(".", "").isidentifier()}
    return frozenset(names)


def room(dotted: str) -> str | None:
    """The room of a name of this package; None for others."""
    parts = dotted.split(".")
    return parts[1] if parts[0] == "xpet" and len(parts) > 1 else None


def room_of(file: str) -> str:
    return Path(file).with_suffix("").parts[1]


def test_the_walk_sees_everything() -> None:
    assert "xpet/core/losses.py" in FILES
    assert "xpet.core.errors.ConfigError" in imports("xpet/core/routines.py")
    assert "transformers.integrations.deepspeed" in imports("xpet/methods/bridge.py")  # through importlib
    assert "safetensors.torch.save_file" in imports("xpet/core/tensors.py")  # inside a function
    assert "xpet.jobs.align.chain" in imports("xpet/__init__.py")  # lazy
    assert "PIL.Image.Image" in imports("xpet/core/captions.py")  # for type checking only


def test_every_room_is_known() -> None:
    assert {room_of(file) for file in FILES} <= set(ALLOWED)


@EVERY_FILE
def test_imports_point_down_only(file: str) -> None:
    own = room_of(file)
    allowed = ALLOWED[own] | {own, "version"} | EXCEPTIONS.get(file, set())
    wrong = sorted(name for name in imports(file) if room(name) is not None and room(name) not in allowed)
    assert not wrong, f"{file} ({own}) may import {sorted(allowed)}, found {wrong}"
    if own not in ("__init__", "__main__"):
        assert "xpet" not in imports(file), f"{file}: import the module that is meant, not the lazy package"


@EVERY_FILE
def test_no_command_imports_another(file: str) -> None:
    """Inside jobs: a folder per command, which may use its own modules, `shared` and `results`."""
    if not file.startswith("xpet/jobs/"):
        return
    folder = Path(file).parts[2] if file != "xpet/jobs/__init__.py" else "__init__"
    assert folder in JOBS, f"{file}: expected a folder of xpet/jobs, one of {sorted(JOBS)}"
    used = {name.split(".")[2] for name in imports(file) if name.startswith("xpet.jobs.")}
    assert used <= JOBS[folder], f"{file} may import of jobs {sorted(JOBS[folder])}, found {sorted(used)}"


@EVERY_FILE
def test_exceptions_are_imported_by_nobody_else(file: str) -> None:
    closed = {Path(name).with_suffix("").as_posix().replace("/", ".") for name in EXCEPTIONS}
    if file not in EXCEPTIONS:
        assert not {n for n in imports(file) for c in closed if n == c or n.startswith(c + ".")}


@EVERY_FILE
def test_third_parties_stay_in_their_rooms(file: str) -> None:
    used = {name.split(".")[0] for name in imports(file)}
    for package, homes in ONLY_IN.items():
        if file not in EXCEPTIONS and not file.startswith(homes):
            assert package not in used, f"{file}: {package} belongs to {', '.join(homes)}"


def declared() -> tuple[set[str], set[str]]:
    """Import names of what pyproject.toml requires always, and of what an extra for users requires."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [project["optional-dependencies"][name] for name in ("export", "plot")]

    def imports_of(requirements: list[str]) -> set[str]:
        names = {re.split(r"[^A-Za-z0-9_-]", requirement)[0] for requirement in requirements}
        return {IMPORT_NAMES.get(name, name.replace("-", "_")) for name in names}

    return imports_of(project["dependencies"]), set().union(*map(imports_of, extras))


def test_every_third_party_import_is_declared() -> None:
    always, optional = declared()
    used = {name.split(".")[0] for file in FILES for name in imports(file)} - set(sys.stdlib_module_names) - {"xpet"}
    assert used <= always | optional | BROUGHT, f"not in pyproject.toml: {sorted(used - always - optional)}"
    assert always - used == NEVER_IMPORTED


def test_the_bridge_reaches_transformers_and_opendelta_through_importlib_only() -> None:
    statements = [n for n in ast.walk(tree("xpet/methods/bridge.py")) if isinstance(n, (ast.Import, ast.ImportFrom))]
    used = {name.split(".")[0] for node in statements for name in imported(node)}
    assert not used & {"transformers", "opendelta"}


@EVERY_FILE
def test_only_the_view_prints(file: str) -> None:
    calls = [node for node in ast.walk(tree(file)) if isinstance(node, ast.Call)]
    banned = {"print"} if file in EXCEPTIONS else {"print", "sys.stdout.write", "sys.stderr.write"}
    found = [call.lineno for call in calls if ast.unparse(call.func) in banned]
    assert file == PRINTER or not found, f"{file}: print in lines {found}"


@pytest.mark.parametrize(
    "module", ["xpet", "xpet.cli.app", "xpet.core.config", "xpet.core.choices", "xpet.core.rundir", "xpet.data.sources"]
)
def test_importing_loads_nothing_heavy(module: str) -> None:
    path = ROOT / Path(*module.split("."))
    if not path.is_dir() and not path.with_suffix(".py").exists():
        pytest.skip(f"{module} does not exist yet")
    code = f"import sys, {module}; print(sorted(set({HEAVY}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_the_lazy_api_is_complete() -> None:
    import xpet

    assert set(xpet._LAZY) | {"__version__"} == set(xpet.__all__)
    assert xpet.AlignConfig(("de",)).check().languages == ("de",)
    for name, (module, attribute) in xpet._LAZY.items():
        if (ROOT / Path(*module.split("."))).with_suffix(".py").exists():
            assert getattr(xpet, name).__name__ == attribute
    with pytest.raises(AttributeError, match="^module 'xpet' has no attribute 'algin'$"):
        _ = xpet.algin
