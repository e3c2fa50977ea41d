"""OHIF and the PACS's DICOMweb under one origin: a browser lets a page read only what comes from its own."""

import mimetypes
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

OHIF = (Path(__file__).resolve().parents[2] / ".viewer" / "ohif").resolve()
CONFIG = Path(__file__).with_name("app-config.js")
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "te", "upgrade"}
"""Headers that a proxy does not pass on (RFC 9110 section 7.6.1), and the length, which it counts itself."""

mimetypes.add_type("application/wasm", ".wasm")
mimetypes.add_type("text/javascript", ".js")


@contextmanager
def site(pacs_port: int) -> Iterator[str]:
    """Serve OHIF, with everything below /dicom-web passed to Orthanc, on loopback; yield the address."""
    handler = type("_Site", (_Handler,), {"pacs_port": pacs_port})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    pacs_port: int

    def do_GET(self) -> None:
        try:
            if self.path.startswith("/dicom-web"):
                self._pass_on()
            else:
                self._file()
        except ConnectionError:  # the page was closed before it had all
            self.close_connection = True

    def log_message(self, *words: object) -> None:
        """Say nothing: there are hundreds of requests a study."""

    def _pass_on(self) -> None:
        with closing(HTTPConnection("127.0.0.1", self.pacs_port, timeout=120)) as pacs:
            # Orthanc makes its BulkDataURIs from Host: with the browser's own they stay of the same origin
            wanted = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
            pacs.request("GET", self.path, headers=wanted)
            answer = pacs.getresponse()
            content = answer.read()
        headers = {name: value for name, value in answer.getheaders() if name.lower() not in HOP_BY_HOP}
        self._answer(answer.status, headers, content)

    def _file(self) -> None:
        path = urlsplit(self.path).path
        file = CONFIG if path == "/app-config.js" else (OHIF / path.lstrip("/")).resolve()
        if not (file == CONFIG or file.is_relative_to(OHIF)) or not file.is_file():
            if Path(path).suffix:
                self._answer(404, {}, b"")
                return
            file = OHIF / "index.html"  # /viewer is a page of the application
        headers = {
            "Content-Type": mimetypes.guess_type(file.name)[0] or "application/octet-stream",
            # a page may share memory with its workers only with these two
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Embedder-Policy": "require-corp",
        }
        if ".bundle." in file.name or file.suffix == ".wasm":  # their names carry a checksum
            headers["Cache-Control"] = "public, max-age=86400, immutable"
        self._answer(200, headers, file.read_bytes())

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
