"""Installing pairs from an index: a local server plays the Argos index in every mood, good and bad."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.translation import toy
from tests.translation.conftest import Command
from tests.translation.web import Server, answer, redirect
from xpet.core.errors import ConfigError, ModelError, NetworkError, OutputError, XpetError
from xpet.core.events import Event, Notice, Progress
from xpet.jobs.translate.packages import install_packages
from xpet.translation import index

Members = dict[str, bytes]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server()
    monkeypatch.setenv("ARGOS_PACKAGE_INDEX", server.url)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # this machine is never reached through a proxy
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARGOS_PACKAGES_DIR", str(tmp_path / "packages"))
    return tmp_path / "packages"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, german: Members) -> bytes:
    """The file of de-en 1.0."""
    return toy.archive(tmp_path_factory.mktemp("m") / "p", "translate-de_en-1_0", german).read_bytes()


def listing(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def refused(folder: Path, names: list[str], *words: str, kind: type[XpetError] = NetworkError) -> None:
    """The install fails with these words in one line and leaves no file behind."""
    before = listing(folder.parent)
    with pytest.raises(kind) as caught:
        install_packages(names)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)
    assert listing(folder.parent) == before


def test_a_pair_from_the_index_beside_a_file(
    server: Server, folder: Path, tmp_path: Path, model: bytes, japanese: Members
) -> None:
    server.index(
        server.offer("de", "en", "/old", version="0.9"),
        {"type": "sbd", "links": ["x"]}, "junk", {"from_code": "../x", "to_code": "en", "links": [server.url + "/m"]},
        server.offer("de", "en", "ipfs://Qm", "/gone", "/de_en.argosmodel"),
    )  # fmt: skip
    server.pages["/de_en.argosmodel"] = model
    path = toy.archive(tmp_path / "ja.argosmodel", "translate-en_ja-1_0", japanese)
    events: list[Event] = []
    result = install_packages([str(path), "de_AT-EN"], events.append)
    assert [(p.pair, p.version, p.new, p.used) for p in result.packages] == [
        ("en-ja", "1.0", True, True), ("de-en", "1.0", True, True),
    ]  # fmt: skip
    assert result.packages[1].sha256 == hashlib.sha256(model).hexdigest()
    assert list(result.chains) == ["de-en", "de-ja", "en-ja"]
    assert server.requested == ["/index.json", "/gone", "/de_en.argosmodel"]
    assert events[-1] == Progress("download de-en", len(model), len(model), unit="bytes")
    record = json.loads((folder / "translate-de_en-1_0" / "xpet.json").read_text())
    assert record == {"sha256": hashlib.sha256(model).hexdigest(), "file": "translate-de_en-1_0.argosmodel"}
    assert list((tmp_path / "cache").rglob("*.argosmodel")) == []
    server.requested.clear()
    again = install_packages(["de-en"])
    assert [(p.new, p.sha256) for p in again.packages] == [(False, record["sha256"])]
    assert server.requested == ["/index.json"]


def test_a_newer_version_is_downloaded(server: Server, folder: Path, tmp_path: Path, german: Members) -> None:
    toy.unpack(folder, "translate-de_en-1_0", german)
    server.index(server.offer("de", "en", "/1.0"), server.offer("de", "en", "/new", version="1.10"),
                 server.offer("de", "en", "/1.9", version="1.9"))  # fmt: skip
    facts = json.dumps(toy.metadata("de", "en", package_version="1.10")).encode()
    new = toy.archive(tmp_path / "new", "translate-de_en-1_10", {**german, "metadata.json": facts})
    server.pages["/new"] = new.read_bytes()
    events: list[Event] = []
    result = install_packages(["de-en"], events.append)
    assert [(p.version, p.new, p.used) for p in result.packages] == [("1.10", True, True)]
    assert events[0] == Notice("de-en: version 1.0 is installed, 1.10 is in the index")
    assert sorted(p.name for p in folder.iterdir()) == ["translate-de_en-1_0", "translate-de_en-1_10"]
    server.index(server.offer("de", "en", "/1.0"))  # the index is behind
    assert install_packages(["de-en"]).packages[0].new is False


def test_the_command(server: Server, folder: Path, xpet: Command, model: bytes) -> None:
    server.index(server.offer("de", "en", "/m"), server.offer("en", "fr", "/f"))
    server.pages["/m"] = model
    done = xpet("translate", "--install", "de-en")
    assert (done.returncode, done.stderr) == (0, b"")
    sha = hashlib.sha256(model).hexdigest()
    assert done.stdout.decode().splitlines() == [
        f"Installed: de-en 1.0 in {folder / 'translate-de_en-1_0'} (SHA-256 {sha})", "Translates: de-en",
    ]  # fmt: skip
    failed = xpet("translate", "--install", "de-fr")
    words = "the index has no package de-fr, but both hops through English: xpet translate --install de-en en-fr"
    assert (failed.returncode, failed.stdout, failed.stderr.decode()) == (2, b"", f"xpet: error: {words}\n")
    assert xpet("translate", "--from", "de", "--to", "en", stdin=b"ein Hund\n").stdout == b"a dog\n"


def test_what_the_index_lacks(server: Server, folder: Path) -> None:
    server.index(server.offer("de", "en", "/m"), server.offer("de", "it", "/m"), server.offer("en", "fr", "/m"))
    refused(folder, ["de-ru"], "the index has no package de-ru: from de it has packages to en, it", kind=ModelError)
    refused(folder, ["tr-en"], "no package tr-en: expected one of its languages to translate from, de, en",
            kind=ModelError)  # fmt: skip
    refused(folder, ["de-en", "de-fr"], "both hops through English", kind=ModelError)
    assert set(server.requested) == {"/index.json"}  # nothing was downloaded


@pytest.mark.parametrize("name", ["zh-cn-en", "de", "../x", "de-en ", "x.zip"])
def test_neither_file_nor_pair(name: str, server: Server, folder: Path) -> None:
    words = f"expected a pair such as de-en, or an .argosmodel file that is there, found {name}"
    refused(folder, [name], words, kind=ConfigError)
    assert server.requested == []


def test_pairs_of_one_language(folder: Path) -> None:
    refused(folder, ["zh_cn-zh"], "--install: expected two languages, found zh_cn-zh", kind=ConfigError)


@pytest.mark.parametrize(
    ("page", "words", "kind"),
    [
        (b"<html>", "expected the JSON of a package index, found Expecting value", ModelError),
        (b"\xff", "expected the JSON of a package index, found 'utf-8' codec", ModelError),
        (b'{"a": 1}', "expected a list of packages, found dict", ModelError),
        (b"[" * 100_000, "expected the JSON of a package index", ModelError),
        (b"[]", "expected translation packages with links, found none", ModelError),
        (None, "/index.json: expected the file, found HTTP status 404", NetworkError),
    ],
)
def test_bad_indexes(page: bytes | None, words: str, kind: type[XpetError], server: Server, folder: Path) -> None:
    if page is not None:
        server.pages["/index.json"] = page
    refused(folder, ["de-en"], server.url + "/index.json", words, kind=kind)


def test_sizes_are_limited(server: Server, folder: Path, model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    server.index(server.offer("de", "en", "/m", "/endless"))
    length = len(json.dumps([server.offer("de", "en", "/m", "/endless")]))
    monkeypatch.setattr(index, "MAX_INDEX", 10)
    refused(folder, ["de-en"], f"/index.json: expected at most 10 bytes, found {length} or more")
    monkeypatch.undo()
    monkeypatch.setenv("ARGOS_PACKAGE_INDEX", server.url)
    monkeypatch.setenv("ARGOS_PACKAGES_DIR", str(folder))
    monkeypatch.setenv("XPET_CACHE", str(folder.parent / "cache"))
    monkeypatch.setattr(index, "MAX_BYTES", 1000)

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b"x" * 500)
        except OSError:
            return

    server.pages |= {"/m": model, "/endless": endless}
    refused(folder, ["de-en"], f"no link of package de-en 1.0 works: {server.url}/m: expected at most 1000 bytes, ",
            f"found {len(model)} or more; {server.url}/endless: expected at most 1000 bytes, found ")  # fmt: skip


def test_cut_short(server: Server, folder: Path, model: bytes) -> None:
    server.index(server.offer("de", "en", "/short", "/chunks"))
    server.pages["/short"] = lambda handler: answer(handler, model[:-7], Content_Length=str(len(model)))

    def chunks(handler: BaseHTTPRequestHandler) -> None:
        handler.protocol_version = "HTTP/1.1"
        answer(handler, b"100\r\nhalf", Transfer_Encoding="chunked", Connection="close")
        handler.close_connection = True

    server.pages["/chunks"] = chunks
    refused(folder, ["de-en"], f"/short: expected {len(model)} bytes, found {len(model) - 7}: cut short",
            "/chunks: expected an answer, found IncompleteRead")  # fmt: skip
    without_length = model[:-7]
    server.pages["/short"] = lambda handler: answer(handler, without_length)
    refused(folder, ["de-en"], f"{server.url}/short: expected an .argosmodel file (a zip archive)", kind=ModelError)


def test_stalls(server: Server, folder: Path, model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "TIMEOUT", 0.3)
    monkeypatch.setattr(index, "WINDOW", 0.3)
    over = threading.Event()

    def silent(handler: BaseHTTPRequestHandler) -> None:
        over.wait(20)

    def stalls(handler: BaseHTTPRequestHandler) -> None:
        answer(handler, model[:50], Content_Length=str(len(model)))
        over.wait(20)

    def trickles(handler: BaseHTTPRequestHandler) -> None:
        answer(handler, b"", Content_Length=str(len(model)))
        try:
            for index in range(400):
                handler.wfile.write(model[index : index + 1])
                time.sleep(0.05)
        except OSError:
            return

    server.index(server.offer("de", "en", "/silent", "/stalls", "/trickles"))
    server.pages |= {"/silent": silent, "/stalls": stalls, "/trickles": trickles}
    none = "expected an answer, found none within 0.3 s; check the network"
    refused(
        folder, ["de-en"], f"/silent: {none}", f"/stalls: {none}", "/trickles: expected 16384 bytes in 0.3 s, found"
    )
    server.pages["/index.json"] = silent
    refused(folder, ["de-en"], f"/index.json: {none}")
    over.set()


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://example.org/x", "data:,x"])
def test_redirects_elsewhere(address: str, server: Server, folder: Path) -> None:
    server.pages["/index.json"] = redirect(address)
    words = f"{address} (from {server.url}/index.json): expected an https:// address, or http:// of this machine"
    refused(folder, ["de-en"], words)
    server.index(server.offer("de", "en", address))
    refused(folder, ["de-en"], words)


def test_redirects_here(server: Server, folder: Path, model: bytes) -> None:
    server.index(server.offer("de", "en", "/circle", "/one"))
    server.pages |= {"/circle": redirect("/circle"), "/one": redirect("two"), "/two": model}
    assert install_packages(["de-en"]).packages[0].new
    assert server.requested == ["/index.json", *["/circle"] * 6, "/one", "/two"]


def test_http_is_for_this_machine_only(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    for address in (
        "http://example.org",
        "file:///tmp",
        str(folder),
        "http://localhost@example.org",
        "http://[",
        "//x",
    ):
        monkeypatch.setenv("ARGOS_PACKAGE_INDEX", address)
        refused(folder, ["de-en"], address)
    with pytest.raises(NetworkError, match=r"expected an https:// address"):
        index._check_address("http://127.0.0.1/package", "https://example.org/index.json")
    index._check_address("http://localhost:8080/x", "http://127.0.0.1/index.json")
    index._check_address("https://example.org/x", "http://127.0.0.1/index.json")


def test_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ARGOS_PACKAGE_INDEX", raising=False)
    assert index.index_address() == "https://raw.githubusercontent.com/argosopentech/argospm-index/main/index.json"
    for given in ("https://mirror.org/a", "https://mirror.org/a/", "https://mirror.org/a/index.json"):
        monkeypatch.setenv("ARGOS_PACKAGE_INDEX", given)
        assert index.index_address() == "https://mirror.org/a/index.json"


def test_offline(server: Server, folder: Path) -> None:
    server.http.shutdown()
    server.http.server_close()
    refused(folder, ["de-en"], "/index.json: expected an answer, found Connection refused; is this machine online?")


def test_another_package_than_the_index_says(server: Server, folder: Path, model: bytes) -> None:
    server.index(server.offer("fr", "en", "/m"))
    server.pages["/m"] = model
    refused(folder, ["fr-en"], f"{server.url}/m: expected a package fr-en, found one for de-en", kind=ModelError)


def test_a_cache_that_cannot_be_written(
    server: Server, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.index(server.offer("de", "en", "/m"))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XPET_CACHE", str(tmp_path / "file"))
    refused(folder, ["de-en"], "cannot write the cache", "set XPET_CACHE", kind=OutputError)
