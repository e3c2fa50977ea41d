"""A web server on loopback that serves a folder, with ranges, as publishers of models do."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

RANGE = re.compile(r"bytes=(\d+)-")


class FileServer(ThreadingHTTPServer):
    """Serves the files of a folder; `cut` breaks the next answers after so many bytes each; `asked` are the ranges."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.cut, self.asked = folder, list[int](), list[str]()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        file = self.server.folder / self.path.lstrip("/")
        asked = self.headers.get("Range", "")
        self.server.asked.append(asked)
        if not file.is_file():
            self.send_error(404)
            return
        content = file.read_bytes()
        begin = int(RANGE.fullmatch(asked)[1]) if asked else 0
        if begin >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        end = begin + self.server.cut.pop(0) if self.server.cut else len(content)
        self.wfile.write(content[begin:end])

    def log_message(self, *_: object) -> None: ...


@contextmanager
def serving(folder: Path) -> Iterator[FileServer]:
    with FileServer(folder) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
