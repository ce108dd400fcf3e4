"""A database comes over HTTP as a whole and sound, or what is in place stays."""

import gzip
import http.server
import threading

import mmdb_writer
import pytest
from netaddr import IPSet

from origin.errors import GeoDownloadError
from origin.geo_download import download_database
from registry.errors import InputInvalidError


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    writer = mmdb_writer.MMDBWriter(4, "city test", float_type="f64")
    writer.insert_network(IPSet(["0.0.0.0/1"]), {"latitude": 1.5, "longitude": 2.5})
    path = tmp_path_factory.mktemp("made") / "made.mmdb"
    writer.to_db_file(str(path))
    return path.read_bytes()


@pytest.fixture
def serve():
    """Gives a URL that answers with these bytes; `cut` of them are promised and never sent."""
    servers = []

    def start(body, status=200, cut=0):
        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body) + cut))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                """Nothing."""

        server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/places.mmdb"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("packed", [False, True])
def test_a_database_is_put_in_place_plain_or_in_gzip(serve, database, tmp_path, packed):
    path = tmp_path / "new" / "places.mmdb"
    body = gzip.compress(database) if packed else database
    assert download_database(serve(body), path) == ("city test", len(database))
    assert path.read_bytes() == database
    assert [it.name for it in path.parent.iterdir()] == ["places.mmdb"]


@pytest.mark.parametrize(
    ("spoil", "status", "cut"),
    [
        (lambda d: d[:200], 200, 0),
        (lambda d: gzip.compress(d)[:-20], 200, 0),
        (lambda d: gzip.compress(d)[:30] + b"x" * 50, 200, 0),
        (lambda d: d, 404, 0),
        (lambda d: d, 200, 9),
        (lambda _: b"", 200, 0),
        (lambda _: b"<html>", 200, 0),
    ],
)  # fmt: skip
def test_what_is_broken_leaves_the_old_one_in_place(serve, database, tmp_path, spoil, status, cut):
    path = tmp_path / "places.mmdb"
    path.write_bytes(b"old")
    with pytest.raises(GeoDownloadError):
        download_database(serve(spoil(database), status, cut), path, timeout_s=2)
    assert [(it.name, it.read_bytes()) for it in tmp_path.iterdir()] == [("places.mmdb", b"old")]


@pytest.mark.parametrize("url", ["ftp://x/y", "file:///etc/passwd", "places.mmdb", ""])
def test_other_urls_are_refused(tmp_path, url):
    with pytest.raises(InputInvalidError):
        download_database(url, tmp_path / "places.mmdb")


def test_a_server_that_is_away_is_said_to_be(tmp_path):
    with pytest.raises(GeoDownloadError, match="refused"):
        download_database("http://127.0.0.1:1/", tmp_path / "places.mmdb", timeout_s=2)
