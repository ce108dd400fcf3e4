"""An upload's body is read as a file is, whatever it is asked for, and whole."""

import io

import pytest

from registry.store.upload_body import STRETCH_BYTES, UploadBody


@pytest.mark.parametrize("size_bytes", [1, 16_384, STRETCH_BYTES, STRETCH_BYTES + 1, -1])
@pytest.mark.parametrize("kind", [bytes, bytearray])
@pytest.mark.parametrize("length_bytes", [0, 1, STRETCH_BYTES - 1, STRETCH_BYTES, 3 * STRETCH_BYTES + 7])
def test_what_is_read_is_what_was_given(kind, length_bytes, size_bytes):
    data = kind(bytes(range(256)) * (length_bytes // 256) + b"x" * (length_bytes % 256))
    body = UploadBody(data)
    stretches = list(iter(lambda: bytes(body.read(size_bytes)), b""))
    assert b"".join(stretches) == data
    assert body.tell() == len(data)
    if size_bytes >= 0:
        assert all(len(it) <= max(size_bytes, STRETCH_BYTES) for it in stretches)
        assert len(stretches) <= length_bytes // STRETCH_BYTES + 1


def test_its_length_is_found_and_it_is_sent_again():
    """As HTTP clients measure a file, and begin it again for another try."""
    body = UploadBody(b"0123456789")
    assert body.seek(0, io.SEEK_END) == 10
    assert bytes(body.read()) == b""
    assert body.seek(0) == 0
    assert bytes(body.read()) == b"0123456789"
    assert body.seek(-4, io.SEEK_CUR) == 6
    assert bytes(body.read(1)) == b"6789"
    assert body.seek(99) == 10


def test_nothing_is_copied():
    data = bytearray(b"before")
    body = UploadBody(data)
    data[:] = b"after!"
    assert bytes(body.read()) == b"after!"
