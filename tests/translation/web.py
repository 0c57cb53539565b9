"""A local web server whose pages tests choose, to play the package index."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.translation import toy

Page = bytes | Callable[[BaseHTTPRequestHandler], None]


class Server:
    """Pages by path; counts what is asked for."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.requested: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requested.append(self.path)
                page = outer.pages.get(self.path)
                if page is None:
                    self.send_error(404)
                elif isinstance(page, bytes):
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(page)))
                    self.end_headers()
                    self.wfile.write(page)
                else:
                    page(self)

            def log_message(self, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def offer(self, source: str, target: str, *links: str, version: str = "1.0", **more: Any) -> dict[str, Any]:
        """An entry of the index, as Argos writes it."""
        full = [link if "://" in link or ":" in link[:8] else self.url + link for link in links]
        return {**toy.metadata(source, target, package_version=version), "links": full, **more}

    def index(self, *entries: Any) -> None:
        self.pages["/index.json"] = json.dumps(entries).encode()


def answer(handler: BaseHTTPRequestHandler, body: bytes, **headers: str) -> None:
    handler.send_response(200)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def redirect(location: str) -> Page:
    def page(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", location)
        handler.end_headers()

    return page
