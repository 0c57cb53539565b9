"""The HTML report without a browser: well formed, self-contained, and nothing in it but text where text was given."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from functools import cache
from html.parser import HTMLParser

import pytest

from tests.cli.reports import HOSTILE, SAMPLES, html
from xpet.cli.printable import clean
from xpet.jobs.results.from_json import from_dict

VOID = {"meta", "img", "br", "hr", "link", "input"}
EVERY = pytest.mark.parametrize("name", SAMPLES)


class Page(HTMLParser):
    """Elements with their attributes, the text, and what is in scripts; asserts that tags are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.scripts = "", [""]
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs), f"{tag}: an attribute twice"
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.stack and self.stack[-1] == "script":
            self.scripts[-1] += data
        else:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


@cache
def page(name: str) -> Page:
    return Page(html(name))


@EVERY
def test_ids_are_unique_and_references_lead_somewhere(name: str) -> None:
    ids = [attrs["id"] for _, attrs in page(name).elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    inside = {value[1:] for _, attrs in page(name).elements if (value := attrs.get("href")) and value[0] == "#"}
    inside |= {i for _, a in page(name).elements for v in a.values() if v for i in re.findall(r"url\(#([^)]+)\)", v)}
    assert inside <= set(ids)


@EVERY
def test_nothing_is_loaded_from_anywhere(name: str) -> None:
    for tag, attrs in page(name).elements:
        for key, value in attrs.items():
            if key in ("src", "href", "action", "data", "poster", "srcset", "background"):
                assert value is not None
                assert value.startswith(("#", "data:image/")), f"{tag} {key}={value}"
            assert not key.startswith("on"), f"{tag} has a handler"
            assert not key.startswith("xmlns")
    assert {tag for tag, _ in page(name).elements} & {"link", "iframe", "object", "embed", "base", "form"} == set()
    style = html(name).partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


@EVERY
def test_only_our_own_script_may_run(name: str) -> None:
    policy = next(m["content"] for m in page(name).all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    data, own, rest = page(name).scripts
    assert rest == ""
    digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    assert from_dict(json.loads(data), "page") == SAMPLES[name]()


def test_hostile_names_stay_text() -> None:
    found = page("hostile")
    assert clean(HOSTILE) in found.text
    assert "<img src=x onerror=alert(1)>" in found.text
    assert found.all("b") != []
    assert all(set(attrs) <= {"class"} for attrs in found.all("b"))
    assert len(found.all("img")) == 1  # the other thumbnail was no picture
    assert "http://x.y" in found.text


def test_captions_carry_language_and_direction() -> None:
    captions = [attrs for tag, attrs in page("hostile").elements if attrs.get("lang") == "ar"]
    assert len(captions) == 2
    assert {"dir": "auto"} in page("hostile").all("bdi")
    assert page("full").all("html") == [{"lang": "en"}]
    assert {attrs["lang"] for attrs in page("full").all("p") if "lang" in attrs} == {"de", "ja", "en"}


def test_everything_a_report_holds_is_said() -> None:
    found = page("full")
    for words in (
        "PASS", "largest drop 0.4 (fr), allowed 2.0", "ko: 3 captions are longer", "+36.5", "[+35.0, +38.0]", "Latin",
        "Disparity within groups", "夜空の下、真っ青な瓶", "xpet align --lang de --routine 1", "0.0011", "1.12 %",
        "1.07 x", '"torch": "2.13.0"', "synthetic demo world", "text->image", "runs/ko",
    ):  # fmt: skip
        assert words in found.text, words
    assert len(found.all("svg")) == 1
    assert len(page("several").all("svg")) == 2
    assert len(found.all("img")) == 4
    assert "synthetic" not in page("one").text.lower()
    banners = [attrs for attrs in found.all("p") if attrs.get("class") == "banner"]
    assert len(banners) == 2


@EVERY
def test_rows_have_a_cell_for_every_heading(name: str) -> None:
    text = html(name)
    tables = re.findall(r"<table.*?</table>", text, re.DOTALL)
    assert len(tables) >= 4
    for table in tables:
        rows = [len(re.findall(r"<t[hd][ >]", row)) for row in re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)]
        assert len(set(rows)) == 1
