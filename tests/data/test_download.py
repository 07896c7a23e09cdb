from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pyro_rvae.data.download import download

CONTENT = b"0 1 1 0\n" * 300_000  # more than one block
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/none":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: len(CONTENT) // 2] if self.path == "/cut" else CONTENT)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_what_is_right_is_kept(url, tmp_path) -> None:
    path = download(f"{url}/whole", SHA256.upper(), tmp_path / "file")
    assert path.read_bytes() == CONTENT and [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(("name", "sha256"), [("whole", "0" * 64), ("cut", SHA256)])
def test_what_is_wrong_or_cut_short_is_not_kept(url, tmp_path, name, sha256) -> None:
    with pytest.raises(ValueError, match=f"SHA-256 .* expected {sha256}"):
        download(f"{url}/{name}", sha256, tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_what_stood_there_stays_when_a_download_fails(url, tmp_path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(ValueError, match="SHA-256"):
        download(f"{url}/cut", SHA256, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_no_such_page_and_no_such_server(url, tmp_path) -> None:
    with pytest.raises(ConnectionError, match="could not be downloaded .*404"):
        download(f"{url}/none", SHA256, tmp_path / "file")
    with pytest.raises(ConnectionError, match="could not be downloaded"):
        download("http://127.0.0.1:9/none", SHA256, tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_other_protocols_are_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="http:// or https://"):
        download("file:///etc/hostname", SHA256, tmp_path / "file")
