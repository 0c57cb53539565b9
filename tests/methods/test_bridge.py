"""OpenDelta is imported without a word, and whatever else Python has to say is still said."""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from pathlib import Path

import pytest

from tests.faults import child
from xpet.methods import bridge

PARTS = ("LoraModel", "AdapterModel", "CompacterModel", "BitFitModel", "SoftPromptModel", "AutoDeltaModel")


def load() -> None:
    for name in PARTS:
        getattr(bridge.opendelta(), name)


def compile_again(compiled: Path, folder: Path) -> None:
    """Be a process that imports OpenDelta, and a module in a folder, as where nothing of either is compiled yet."""
    load()  # with all that it imports, which need not be compiled
    for name in [name for name in sys.modules if name.partition(".")[0] == "opendelta"]:
        del sys.modules[name]
    bridge.opendelta.cache_clear()
    sys.pycache_prefix, sys.dont_write_bytecode = str(compiled), False
    warnings.showwarning = lambda *told: print(warnings.formatwarning(*told[:4]), file=sys.stderr)  # noqa: T201 - not pytest's
    warnings.resetwarnings()
    warnings.simplefilter("default")
    load()
    sys.path.append(str(folder))
    importlib.import_module("noisy")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a fork of this process")
def test_compiling_opendelta_warns_nobody(tmp_path: Path) -> None:
    compiled = tmp_path / "compiled"
    (tmp_path / "noisy.py").write_text('"\\o"\n', encoding="utf-8")
    done = child.apart(lambda: compile_again(compiled, tmp_path), tmp_path, tmp_path / "notes")
    assert done.code == 0, done.told
    assert list(compiled.rglob("opendelta/delta_models/layers/hypercomplex_linear.*.pyc"))
    told = [line for line in done.told.splitlines() if "Warning" in line]
    assert not [line for line in told if f"{os.sep}opendelta{os.sep}" in line]
    (other,) = (line for line in told if "noisy.py" in line)
    assert "invalid escape sequence '\\o'" in other


@pytest.mark.parametrize("category", [SyntaxWarning, DeprecationWarning])  # Python 3.12 and later; before
def test_only_its_own_warning_is_kept_back(category: type[Warning]) -> None:
    message = r"invalid escape sequence '\o'"
    given = [
        (message, "/lib/opendelta/layers.py"), (message, r"C:\lib\opendelta\layers.py"), (message, "/lib/other/o.py"),
        (message, "/lib/opendelta_tools/o.py"), ("something else", "/lib/opendelta/layers.py"),
    ]  # fmt: skip
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with bridge._without_its_warning():
            for words, file in given:
                warnings.warn_explicit(words, category, file, 50)
            warnings.warn_explicit(message, UserWarning, "/lib/opendelta/layers.py", 50)
    assert [(str(one.message), one.filename) for one in seen] == [*given[2:], (message, "/lib/opendelta/layers.py")]
