"""The pages of the repository: links, commands, code, names and sentences, checked against what is there."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from tests import pages
from tests.bench import lifted
from tests.pages import ROOT
from xpet.core import run_record
from xpet.jobs.results import report

FRONT = ROOT / "README.md"
HOUSE = ROOT / "xpet" / "README.md"
PICTURE = ROOT / "xpet" / "demo" / "lifted.svg"
LOG = ROOT / "CHANGELOG.md"
MOST_LINES = 170
FRONT_WORDS, PAGE_WORDS = 30, 40
ROOMS = (
    "xpet", "xpet/core", "xpet/demo", "xpet/jobs/align", "xpet/jobs/eval", "xpet/jobs/merge", "xpet/translation",
    "tests/bench",
)  # fmt: skip
PAGES = pages.pages()
EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
IN_FORCE = pytest.mark.parametrize(
    "page", [page for page in PAGES if page != LOG], ids=lambda page: page.relative_to(ROOT).as_posix()
)
"""Every page but the log of changes, which names what there was."""


@EVERY_PAGE
def test_links_resolve(page: Path) -> None:
    assert not pages.broken_links(page, page.read_text("utf-8"))


@IN_FORCE
def test_commands_are_taken_by_the_command_line(page: Path) -> None:
    assert not pages.bad_commands(page.read_text("utf-8"))


@IN_FORCE
def test_settings_are_options(page: Path) -> None:
    assert not pages.bad_settings(page.read_text("utf-8"))


@IN_FORCE
def test_options_exist(page: Path) -> None:
    if page.parent.name not in ("bench", "faults"):  # whose scripts have options of their own
        assert not pages.unknown_options(page.read_text("utf-8"))


@IN_FORCE
def test_python_compiles(page: Path) -> None:
    assert not pages.bad_python(page.read_text("utf-8"))


@IN_FORCE
def test_named_files_and_functions_exist(page: Path) -> None:
    assert not pages.missing_paths(page, page.read_text("utf-8"))


@IN_FORCE
def test_sentences_are_short(page: Path) -> None:
    assert not pages.long_sentences(page.read_text("utf-8"), FRONT_WORDS if page == FRONT else PAGE_WORDS)


@pytest.mark.parametrize("room", ROOMS)
def test_the_room_has_a_page(room: str) -> None:
    assert (ROOT / room / "README.md").is_file()


def test_the_front_page_is_short_and_begins_with_the_commands() -> None:
    text = FRONT.read_text("utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    first = next(pages.blocks(text))[1].splitlines()
    assert [line.split(" # ")[0].strip() for line in first] == [
        "pip install . && xpet align --lang de --method lora --shots 100", "pip install '.[test]' && pytest",
        "accelerate launch -m xpet align --lang all --seed 1,2,3",
    ]  # fmt: skip


def test_every_room_is_named_on_the_house_page() -> None:
    assert not pages.unnamed_rooms(HOUSE.read_text("utf-8"))


@pytest.mark.parametrize(
    "room", sorted({page.parent for page in PAGES if HOUSE.parent in page.parent.parents}), ids=lambda room: room.name
)
def test_every_module_is_named_on_the_page_of_its_room(room: Path) -> None:
    assert not pages.unnamed_modules(room / "README.md", (room / "README.md").read_text("utf-8"))


def test_the_picture_shows_the_front_pages_figures_and_says_that_they_are_synthetic() -> None:
    picture, text = PICTURE.read_text("utf-8"), FRONT.read_text("utf-8")
    assert len(picture.encode()) < 60_000
    assert "synthetic demo world" in picture
    assert lifted.STYLE in picture  # drawn by the script as it is
    assert "(xpet/demo/lifted.svg)" in text
    rows = [[cell.strip(" `*") for cell in line.strip("|").split("|")] for line in text.splitlines()
            if line.startswith("|")]  # fmt: skip
    heads = next(row for row in rows if row[1:4] == ["mean", "range", "std"])
    starts = ("zero-shot", "routine `text`, no pictures")
    before, after = (next(row for row in rows if row[0].startswith(name)) for name in starts)
    for head, low, high in zip(heads, before, after, strict=True):
        if len(head) == 2:
            labels = re.search(rf">{head}<.*>(\d+)<.*>(\d+)<", picture)
            assert labels is not None, head
            assert [int(label) for label in labels.groups()] == pytest.approx([float(low), float(high)], abs=0.6), head


DOCUMENTS = (
    report.Report, report.System, report.LanguageScores, report.Cost, report.Comparison, report.Difference, report.Gate,
    run_record.RunMetrics, run_record.RunEnvironment, run_record.SplitNames,
)  # fmt: skip


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_every_field_of_a_document_is_on_cores_page(kind: type) -> None:
    named = set(pages.spans((ROOT / "xpet" / "core" / "README.md").read_text("utf-8")))
    assert not {field.name for field in fields(kind)} - named


GOOD = """\
# A page: of `code`

[There](#a-page-of-code), [below](#twice-1), [a file](README.md), ![a picture](xpet/demo/lifted.svg), [web](https://x.y).

## Twice
## Twice

```sh
xpet align --lang de && xpet eval runs/de --json > result.json   # a comment with --bogus
xpet merge runs/tr \\
    --pack all.xpet | cat
```

```console
$ nohup xpet align --lang de & torchrun --nproc_per_node 2 -m xpet eval runs/de
$ XPET_TRANSLATE_FAST=1 xpet translate a.txt --from de --to en < in.txt
xpet: this is what it says, --bogus
```

```toml
[align]
lang = "de"
```

- in a list

  ```python
  import xpet
  xpet.align(xpet.AlignConfig())
  ```

`xpet/core/losses.py`, `losses.py`, `core/losses.py:mse`, `xpet.core.losses.mse`, `xpet.core`, `xpet.load`, `--lr 1e-3`,
`xpet merge --pack`, `xpet align ...`, `tests/`.
"""
BAD = {
    "links": ("[gone](gone.md)", pages.broken_links),
    "headings": ("# One\n[gone](#two)", pages.broken_links),
    "headings elsewhere": ("[gone](README.md#no-such-heading)", pages.broken_links),
    "outside": ("[out](../../../etc/hosts)", pages.broken_links),
    "pictures of the web": ("![far](https://x.y/z.svg)", pages.broken_links),
    "option": ("```sh\nxpet align --bogus\n```", pages.bad_commands),
    "option on a continued line": ("```sh\nxpet align \\\n  --bogus\n```", pages.bad_commands),
    "second command": ("```sh\npip install . && xpet algin\n```", pages.bad_commands),
    "value": ("```sh\nxpet align --steps many\n```", pages.bad_commands),
    "lacking": ("```sh\nxpet merge\n```", pages.bad_commands),
    "console": ("```console\n$ xpet eval --bogus\n```", pages.bad_commands),
    "behind a launcher": ("```sh\naccelerate launch --num_processes 2 -m xpet align --bogus\n```", pages.bad_commands),
    "in the background": ("```sh\nnohup xpet align --bogus &\n```", pages.bad_commands),
    "behind a variable": ("```sh\nXPET_ALIGN_LR=1 xpet align --bogus\n```", pages.bad_commands),
    "in a span": ("see `xpet eval --bogus`", pages.bad_commands),
    "setting": ("```toml\n[align]\nlang = 1\nbogus = 2\n```", pages.bad_settings),
    "table": ("```toml\n[bogus]\nlang = 1\n```", pages.bad_settings),
    "named option": ("see `--bogus`", pages.unknown_options),
    "syntax": ("```python\nimport import\n```", pages.bad_python),
    "api": ("```python\nimport xpet\nxpet.algin()\n```", pages.bad_python),
    "path": ("`xpet/core/gone.py`", pages.missing_paths),
    "folder": ("`xpet/gone/`", pages.missing_paths),
    "folder of the room": ("`gone/`", pages.missing_paths),
    "module": ("`xpet.core.gone`", pages.missing_paths),
    "name in a module": ("`xpet.core.losses.gone`", pages.missing_paths),
    "function": ("`core/losses.py:gone`", pages.missing_paths),
    "file of the room": ("`gone.py`", pages.missing_paths),
    "sentence": ("Short. " + "word " * 31 + ".", pages.long_sentences),
    "sentence in a list": ("- " + "word " * 15 + "\n  " + "word " * 16 + "\n- one", pages.long_sentences),
}
HERE = ROOT / "xpet" / "page.md"
"""Where the samples are taken to stand."""


def problems(check: object, text: str) -> list[str]:
    if check is pages.long_sentences:
        return pages.long_sentences(text, FRONT_WORDS)
    if check in (pages.broken_links, pages.missing_paths):
        return check(HERE, text)  # type: ignore[operator]
    return check(text)  # type: ignore[operator]


@pytest.mark.parametrize("name", BAD)
def test_every_check_can_fail(name: str) -> None:
    text, check = BAD[name]
    assert len(problems(check, text)) == 1, name


def test_a_good_page_passes_every_check() -> None:
    text = GOOD.replace("`losses.py`, ", "").replace("(xpet/demo", "(demo")
    for check in {check for _, check in BAD.values()}:
        assert not problems(check, text)


def test_an_unnamed_room_and_long_code_are_told_apart() -> None:
    assert "core/: not named" in pages.unnamed_rooms("`cli/` only")
    assert "run.py: not named" in pages.unnamed_modules(ROOT / "xpet/jobs/align/README.md", "`stacks.py`")
    assert not pages.long_sentences("| " + "cell | " * 50 + "\n\n```\n" + "word " * 50 + "\n```\n# " + "w " * 50, 30)
