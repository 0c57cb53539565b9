"""Reads the Argos package index and downloads packages from it, when a pair is installed by name.

argostranslate's own reader has no time-outs and hides errors. Here addresses must be https (http only on this machine),
redirects are checked like links, and every wait and every size is limited.
"""

from __future__ import annotations

import http.client
import os
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from xpet.core.argos_codes import argos_code
from xpet.core.captions import PIVOT
from xpet.core.errors import ModelError, NetworkError
from xpet.core.files import writing
from xpet.core.json_files import parsed
from xpet.translation.install import MAX_BYTES
from xpet.translation.packages import CODE, version_number

INDEX = "https://raw.githubusercontent.com/argosopentech/argospm-index/main"
VARIABLE = "ARGOS_PACKAGE_INDEX"  # a folder of the web, as in Argos; the address of a .json file is taken too
MAX_INDEX = 16 << 20
MAX_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)
TIMEOUT = 20.0  # seconds for a connection, and for the next bytes
WINDOW = 30.0  # seconds in which at least MIN_BYTES bytes must come
MIN_BYTES = 16 << 10
BLOCK = 1 << 16
LOCAL = ("localhost", "127.0.0.1", "::1")
PAIR = re.compile(r"([a-z]{2,3}(?:_[a-z0-9]+)*)-([a-z]{2,3}(?:_[a-z0-9]+)*)", re.IGNORECASE)

OnBytes = Callable[[int, int], None]
"""Called with the bytes received and those expected (0 when the server does not say)."""


@dataclass(frozen=True)
class Offer:
    """A package in the index, and the addresses of its file."""

    source: str
    target: str
    version: str
    links: tuple[str, ...]

    @property
    def pair(self) -> str:
        """Source and target code, as `de-en`."""
        return f"{self.source}-{self.target}"

    @property
    def file(self) -> str:
        """A name for the downloaded file, independent of its links."""
        version = re.sub(r"[^0-9A-Za-z]+", "_", self.version)[:32]
        return f"translate-{self.source}_{self.target}-{version}.argosmodel"


def parse_pair(text: str) -> tuple[str, str] | None:
    """Argos' codes of a pair such as `de-en` or `zh_TW-en`; None where the text is no pair."""
    match = PAIR.fullmatch(text)
    return (argos_code(match[1]), argos_code(match[2])) if match else None


def index_address() -> str:
    """The address of the index: that of `ARGOS_PACKAGE_INDEX`, else Argos' own."""
    base = os.environ.get(VARIABLE) or INDEX
    return base if base.endswith(".json") else base.rstrip("/") + "/index.json"


def read_index(address: str) -> list[Offer]:
    """The translation packages of an index, newest first; unusable entries are left out.

    Raises:
        NetworkError: offline, a time-out, a refused address, an HTTP error.
        ModelError: the answer is no index.
    """
    body = b"".join(_fetch(address, MAX_INDEX))
    try:
        entries = parsed(body.decode("utf-8"))
    except ValueError as error:
        raise ModelError(f"{address}: expected the JSON of a package index, found {error}; see {VARIABLE}") from error
    if not isinstance(entries, list):
        raise ModelError(f"{address}: expected a list of packages, found {type(entries).__name__}; see {VARIABLE}")
    offers = [offer for entry in entries if (offer := _offer(entry))]
    if not offers:
        raise ModelError(f"{address}: expected translation packages with links, found none; see {VARIABLE}")
    return sorted(offers, key=lambda offer: version_number(offer.version), reverse=True)


def _offer(entry: object) -> Offer | None:
    if not isinstance(entry, Mapping) or entry.get("type", "translate") != "translate":
        return None
    codes = [entry.get("from_code"), entry.get("to_code")]
    links = entry.get("links")
    if not all(isinstance(code, str) and CODE.fullmatch(code) for code in codes) or not isinstance(links, list):
        return None
    addresses = tuple(link for link in links if isinstance(link, str))
    version = str(entry.get("package_version", ""))
    return Offer(str(codes[0]), str(codes[1]), version, addresses) if addresses else None


def find_offer(offers: Sequence[Offer], source: str, target: str) -> Offer:
    """The newest of `offers` for a pair. Raises ModelError, which says what the index has instead."""
    for offer in offers:
        if (offer.source, offer.target) == (source, target):
            return offer
    pairs = {(offer.source, offer.target) for offer in offers}
    hops = ((source, PIVOT), (PIVOT, target))
    problem = f"the index has no package {source}-{target}"
    if all(hop in pairs for hop in hops):
        names = " ".join(f"{a}-{b}" for a, b in hops)
        raise ModelError(f"{problem}, but both hops through English: xpet translate --install {names}")
    targets = sorted(b for a, b in pairs if a == source)
    if targets:
        raise ModelError(f"{problem}: from {source} it has packages to {', '.join(targets)}")
    sources = sorted({a for a, _ in pairs})
    raise ModelError(f"{problem}: expected one of its languages to translate from, {', '.join(sources)}")


def download(offer: Offer, folder: Path, index: str, on_bytes: OnBytes) -> tuple[Path, str]:
    """Download a package into a folder from the first of its links that works; returns the file and that link.

    Raises:
        NetworkError: no link works; with the reason of each.
        OutputError: the folder cannot be written.
    """
    path = folder / offer.file
    problems = []
    for link in offer.links:
        try:
            with writing(path, "free space or set XPET_CACHE"), path.open("wb") as file:
                for block in _fetch(link, MAX_BYTES, index, on_bytes):
                    file.write(block)
            return path, link
        except NetworkError as error:
            problems.append(str(error))
    raise NetworkError(f"no link of package {offer.pair} {offer.version} works: {'; '.join(problems)}")


def _fetch(
    address: str, limit: int, origin: str | None = None, on_bytes: OnBytes = lambda done, total: None
) -> Iterator[bytes]:
    """The contents of an address, block by block; `origin` is the address that named it. Raises NetworkError."""
    try:
        with _open(address, origin) as response:
            yield from _blocks(response, limit, on_bytes)
    except urllib.error.HTTPError as error:
        error.close()
        raise NetworkError(f"{address}: expected the file, found HTTP status {error.code}") from error
    except urllib.error.URLError as error:
        raise NetworkError(f"{address}: {_reason(error.reason)}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NetworkError(f"{address}: {_reason(error)}") from error


def _open(address: str, origin: str | None) -> http.client.HTTPResponse:
    """Open an address and follow its redirects, each of them checked like a link."""
    for _ in range(MAX_REDIRECTS + 1):
        _check_address(address, origin)
        response: http.client.HTTPResponse = _opener(address).open(_request(address), timeout=TIMEOUT)
        if response.status < 300:
            return response
        response.close()
        origin, address = address, urljoin(address, response.headers["Location"])
    raise NetworkError(f"{address}: expected at most {MAX_REDIRECTS} redirects, found more")


def _request(address: str) -> urllib.request.Request:
    return urllib.request.Request(address, headers={"User-Agent": "xpet", "Accept-Encoding": "identity"})


class _NoRedirect(urllib.request.HTTPErrorProcessor):
    """Lets redirects through as responses, since `_open` follows them itself."""

    def http_response(self, request: Any, response: Any) -> Any:
        """The response; raises HTTPError for other statuses than success and redirects."""
        if response.status in REDIRECTS and response.headers.get("Location"):
            return response
        return super().http_response(request, response)

    https_response = http_response


def _opener(address: str) -> urllib.request.OpenerDirector:
    """An opener for http and https only; it uses the environment's proxies, but not for this machine."""
    opener = urllib.request.OpenerDirector()
    proxies: dict[str, str] | None = {} if urlsplit(address).hostname in LOCAL else None
    for handler in (
        urllib.request.ProxyHandler(proxies),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        urllib.request.HTTPDefaultErrorHandler(),
        _NoRedirect(),
    ):
        opener.add_handler(handler)
    return opener


def _check_address(address: str, origin: str | None) -> None:
    """Raise NetworkError unless it is https, or http of this machine, named by the user or by this machine."""
    parts = urlsplit(address)
    local = parts.hostname in LOCAL and (origin is None or urlsplit(origin).hostname in LOCAL)
    if not parts.hostname or not (parts.scheme == "https" or (parts.scheme == "http" and local)):
        via = f" (from {origin})" if origin else ""
        raise NetworkError(f"{address}{via}: expected an https:// address, or http:// of this machine")


def _reason(error: object) -> str:
    """What went wrong, and what to do, in words."""
    if isinstance(error, TimeoutError):
        return f"expected an answer, found none within {TIMEOUT:g} s; check the network, then run the command again"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"expected a trusted certificate, found {error.verify_message}; see SSL_CERT_FILE"
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"expected an answer, found {reason}; is this machine online? Packages install from files too"


def _blocks(response: http.client.HTTPResponse, limit: int, on_bytes: OnBytes) -> Iterator[bytes]:
    """The body of a response, block by block. Raises NetworkError when it is too long, cut short or too slow."""
    address = response.geturl()
    length = response.headers.get("Content-Length", "")
    total = int(length) if length.isdecimal() else 0
    done, done_before, window_start = 0, 0, time.monotonic()
    while True:
        if max(total, done) > limit:
            raise NetworkError(f"{address}: expected at most {limit} bytes, found {max(total, done)} or more")
        block = response.read1(BLOCK)
        if not block:
            break
        yield block
        done += len(block)
        on_bytes(done, total)
        if time.monotonic() - window_start > WINDOW:
            if done - done_before < MIN_BYTES:
                problem = f"expected {MIN_BYTES} bytes in {WINDOW:g} s, found {done - done_before}"
                raise NetworkError(f"{address}: {problem}; the server is too slow, run the command again later")
            done_before, window_start = done, time.monotonic()
    if done < total:
        raise NetworkError(f"{address}: expected {total} bytes, found {done}: cut short; run the command again")
