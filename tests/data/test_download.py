from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from interplay.data import cifar
from interplay.data.download import download
from interplay.errors import DataError

CONTENT = bytes(range(256)) * 4000
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server:
    """A loopback server that can cut its first answers short and may ignore ranges."""

    def __init__(self) -> None:
        self.cut_after: list[int] = []
        self.ranges = True
        self.content = CONTENT
        self.asked: list[str | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                wanted = self.headers.get("Range")
                outer.asked.append(wanted)
                start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and outer.ranges else 0
                if start >= len(outer.content):
                    self.send_error(416)
                    return
                body = outer.content[start:]
                self.send_response(206 if wanted and outer.ranges else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: outer.cut_after.pop(0)] if outer.cut_after else body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/"


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    thread = threading.Thread(target=found.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield found
    found.http.shutdown()
    found.http.server_close()
    thread.join()


def test_a_cut_download_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.cut_after = [300_000, 100_000]
    target = tmp_path / "file.bin"
    download(server.url + "file.bin", target, MD5)
    assert target.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=300000-", "bytes=400000-"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_partial_file_of_an_earlier_session_is_continued(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:1000])
    download(server.url + "file.bin", tmp_path / "file.bin", MD5)
    assert server.asked == ["bytes=1000-"]
    (tmp_path / "again.part").write_bytes(CONTENT)
    download(server.url + "again", tmp_path / "again", MD5)
    assert (tmp_path / "again").read_bytes() == CONTENT


def test_a_server_without_ranges_starts_anew(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / "file.bin.part").write_bytes(b"x" * 1000)
    download(server.url + "file.bin", tmp_path / "file.bin", MD5)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_a_wrong_checksum_leaves_nothing_behind(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(DataError, match=f"has md5 [0-9a-f]{{32}}, expected {MD5}"):
        download(server.url + "file.bin", tmp_path / "file.bin", MD5)
    assert list(tmp_path.iterdir()) == []


def test_what_has_arrived_is_kept_when_the_connection_fails_for_good(server: Server, tmp_path: Path) -> None:
    server.cut_after = [100, 100, 100, 0, 0, 0]  # an attempt that brings something does not count
    with pytest.raises(DataError, match="cannot download"):
        download(server.url + "file.bin", tmp_path / "file.bin", MD5)
    assert (tmp_path / "file.bin.part").stat().st_size == 300


def test_the_archive_is_downloaded_verified_and_unpacked(server: Server, tiny_cifar100: Path, tmp_path: Path) -> None:
    shutil.rmtree(tiny_cifar100)
    server.content = (tmp_path / "packed" / "cifar-100-python.tar.gz").read_bytes()
    folder = cifar.locate("cifar100", tiny_cifar100, address=server.url)
    assert sorted(p.name for p in folder.iterdir()) == ["test", "train"]
    assert len(cifar.read("cifar100", tiny_cifar100, cifar.published_fingerprint("cifar100"))[0]) == 40


def test_offline_and_absent_is_one_error_that_says_where_to_put_which_file(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        cifar.locate("cifar100", tmp_path, address="http://127.0.0.1:9/")  # the discard port: nobody answers
    message = str(caught.value)
    assert "Put cifar-100-python.tar.gz (md5 eb9058c3a382ffc7106e4002c42a8d85" in message
    assert f"into {tmp_path}" in message
    assert f"train, test into {tmp_path / 'cifar-100-python'}" in message
    assert "cannot download" in message


def test_a_partial_file_of_another_version_is_started_anew(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(b"x" * 1000)
    download(server.url + "file.bin", tmp_path / "file.bin", MD5)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    (tmp_path / "long.part").write_bytes(CONTENT + b"more")
    download(server.url + "long", tmp_path / "long", MD5)
    assert (tmp_path / "long").read_bytes() == CONTENT
