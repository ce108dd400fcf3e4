"""Bodies: both forms, both encodings, limits, and errors as they were."""

from __future__ import annotations

import base64
import json
import struct

import msgpack
import pytest
import zstandard

from edge_node.client.payload import (
    decode_body,
    encode_body,
    error_in,
    error_of_status,
    inflater_for,
    read_body,
    vector_of,
)
from edge_node.errors import (
    AnswerInvalidError,
    ModelNotReadyError,
    OverloadedError,
    PromptTooLongError,
    RequestInvalidError,
)
from origin.errors import NoNodeAvailableError
from registry.errors import UnpackLimitError


class Arriving:
    def __init__(self, *pieces):
        self.pieces = list(pieces)

    async def readany(self):
        return self.pieces.pop(0) if self.pieces else b""


def test_a_small_request_stays_plain_and_a_large_one_is_compressed():
    data, headers = encode_body({"a": 1})
    assert msgpack.unpackb(data) == {"a": 1}
    assert headers == {"content-type": "application/msgpack"}
    data, headers = encode_body({"a": "x" * 2000})
    assert headers["content-encoding"] == "zstd"
    assert len(data) < 100
    assert msgpack.unpackb(zstandard.decompress(data)) == {"a": "x" * 2000}


@pytest.mark.parametrize("step", [1, 7, 100000])
@pytest.mark.parametrize("encoding", ["", "identity", "zstd"])
async def test_a_body_arrives_in_pieces(encoding, step):
    body = bytes(range(256)) * 50
    sent = zstandard.compress(body) if encoding == "zstd" else body
    pieces = [sent[i : i + step] for i in range(0, len(sent), step)]
    assert await read_body(Arriving(*pieces), encoding, len(body)) == body


@pytest.mark.parametrize("encoding", ["identity", "zstd"])
async def test_a_body_over_the_limit_is_refused(encoding):
    body = b"x" * 10**6
    sent = zstandard.compress(body) if encoding == "zstd" else body
    with pytest.raises(UnpackLimitError, match="999999"):
        await read_body(Arriving(sent), encoding, 999_999)


def test_a_broken_or_unknown_encoding_is_refused():
    with pytest.raises(AnswerInvalidError, match="zstd"):
        inflater_for("zstd", 100).feed(b"not zstd at all")
    with pytest.raises(AnswerInvalidError, match="gzip"):
        inflater_for("gzip", 100)


async def test_a_body_that_is_cut_off_is_refused():
    sent = zstandard.ZstdCompressor(write_content_size=False).compress(b"x" * 1000)
    with pytest.raises(AnswerInvalidError, match="truncated"):
        await read_body(Arriving(sent[:-1]), "zstd", 1000)


def test_bodies_in_both_forms():
    assert decode_body(b'{"a": 1}', "application/json") == {"a": 1}
    assert decode_body(msgpack.packb({"a": b"\x00"}), "application/msgpack") == {"a": b"\x00"}
    for data, kind in [
        (b"{", "application/json"),
        (b"\xc1", "application/msgpack"),
        (b"<html>", "text/html"),
    ]:
        with pytest.raises(AnswerInvalidError, match=kind):
            decode_body(data, kind)
    with pytest.raises(AnswerInvalidError):
        decode_body(b"[" * 100_000, "application/json")


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("context_length_exceeded", 400, PromptTooLongError),
        ("node.overloaded", 429, OverloadedError),
        ("node.none_available", 503, NoNodeAvailableError),
        ("never heard of", 400, RequestInvalidError),
        ("never heard of", 429, OverloadedError),
        ("internal", 500, AnswerInvalidError),
        (None, 503, AnswerInvalidError),
    ],
)
def test_an_error_becomes_the_class_of_its_code(code, status, kind):
    body = {"error": {"message": "too long", "type": "x", "param": "messages", "code": code}}
    error = error_in(body, status, {"Retry-After": "2", "retry-after": "2"})
    assert type(error) is kind
    assert (error.message, error.param, error.retry_after_s) == ("too long", "messages", 2.0)


@pytest.mark.parametrize("plain", [{}, [], None, "x", {"error": None}, {"error": 7}])
def test_what_is_not_an_error_object(plain):
    assert error_in(plain, 500, {}) is None
    assert type(error_of_status(502, {})) is AnswerInvalidError
    assert type(error_of_status(413, {})) is RequestInvalidError


def test_an_error_as_a_bare_text():
    assert error_in({"error": "no"}, 400, {}).message == "no"


def test_vectors_in_three_forms():
    raw = struct.pack("<3f", 0.5, -1.0, 2.0)
    for form in (raw, base64.b64encode(raw).decode(), [0.5, -1, 2.0]):
        assert vector_of(form) == [0.5, -1.0, 2.0]
    json.dumps(vector_of(raw))
    for bad in (b"abc", "&&&", None, ["x"], {"a": 1}):
        with pytest.raises(AnswerInvalidError, match="embedding"):
            vector_of(bad)


def test_a_model_that_is_being_loaded_says_how_far_it_is():
    detail = {"message": "chat is not ready here", "code": "model.not_ready", "param": "model"}
    loading = {"state": "fetching", "eta_s": 12.4, "done_bytes": 250, "total_bytes": 1000}
    error = error_in({"error": detail, "loading": loading}, 503, {"retry-after": "12"})
    assert isinstance(error, ModelNotReadyError)
    assert error.message == "chat is not ready here (fetching, 25 % of 1000 bytes, about 12 s left)"
    assert (error.state, error.done_bytes, error.total_bytes, error.retry_after_s) == (
        "fetching",
        250,
        1000,
        12,
    )
    for bare in ({"error": detail}, {"error": detail, "loading": {"state": 3}}):
        assert error_in(bare, 503, {}).message == "chat is not ready here"


def test_errors_of_the_inference_protocol_keep_their_code():
    error = error_in({"error": "no", "code": "node.overloaded", "param": "model"}, 429, {"retry-after": "2"})
    assert (type(error), error.message, error.param, error.retry_after_s) == (
        OverloadedError,
        "no",
        "model",
        2,
    )
