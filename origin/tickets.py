"""Tickets: a ranked list of nodes, signed by an origin, that a request carries so that nodes may hand it on.

    text    = base64url( version | key id | signature | [ path ] | body ) [ "." tried ]
    body    = msgpack of `Ticket`
    version = 1: the signature is Ed25519 (RFC 8032) over version, key id and body
              2: over version, key id and the root of a tree that the path leads to from them and the body
    tried   = one hexadecimal digit for each stop that has seen the request, not signed

A ticket without `key_id` gives nobody any right: it names an order of nodes that anyone may ask anyway, so a replay is
harmless, and so is a false `tried` (whoever writes one sends himself about). With `key_id` it stands for that client
key, at the nodes that it names and for its model, as long as the key lets in: clients leave their key behind when they
are redirected to another host. It lives 60 s at most, since the predictions in it age.
A signature is the dearest part of a list, so tickets that are wanted at one moment share one (`origin.hash_tree`).
A reader never raises for what a client sent: what cannot be believed is a `Flaw`, and the request goes its way without.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Annotated, Final, Literal, NamedTuple

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Meta, Struct

from origin.hash_tree import MESSAGES_LIMIT_COUNT, PATH_LIMIT_BYTES, root_of, split_path, tree_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from origin.api import RankedNode

TICKET_PARAMETER: Final = "edgeward_ticket"
TICKET_HEADER: Final = "x-edgeward-ticket"
_IN_QUERY = f"{TICKET_PARAMETER}="

LIFE_LIMIT_S = 60.0
STOPS_LIMIT_COUNT = 4
TEXT_LIMIT = 3072
"""The longest text of a ticket; with it a URL stays far below the 8 KiB that servers take."""
PUBLIC_KEY_BYTES = SEED_BYTES = 32

SIGNED_LIMIT_COUNT = MESSAGES_LIMIT_COUNT
"""So many tickets share a signature at most."""

_ALONE, _TOGETHER = b"\x01", b"\x02"
_KEY_ID_BYTES = 8
_SIGNATURE_BYTES = 64
_HEAD_BYTES = len(_ALONE) + _KEY_ID_BYTES
_BODY_LIMIT_BYTES = TEXT_LIMIT * 3 // 4 - _HEAD_BYTES - _SIGNATURE_BYTES - PATH_LIMIT_BYTES - 8

Flaw = Literal["damaged", "unknown_key", "forged", "expired"]
"""Why a ticket is not believed: it is none, its key was never heard of, its signature is wrong, its time is over."""

_Seconds = Annotated[float, Meta(ge=0, le=1e9)]


class Stop(Struct, frozen=True, array_like=True):
    """One node of a ticket.

    Attributes:
        score_s: the predicted time to first token, with the way there on a new connection.
        prefill_s: the part of it that reading the prompt takes there.
    """

    node_id: Annotated[str, Meta(min_length=1, max_length=63)]
    url: Annotated[str, Meta(max_length=2048, pattern=r"^https?://[!-~]+\Z")]
    score_s: _Seconds
    rtt_ms: _Seconds
    prefill_s: _Seconds = 0.0


class Ticket(Struct, frozen=True, array_like=True):
    """What an origin predicted for one request, or for the requests of one client for a minute.

    Attributes:
        model: as it was asked for, such as `chat` or `chat@1.2.0`.
        stops: best first.
        expires_unix_s: when it is worth nothing any more.
        key_id: of the client's key, which the origin has checked; empty without one.
    """

    model: Annotated[str, Meta(max_length=200)]
    stops: Annotated[tuple[Stop, ...], Meta(min_length=1, max_length=16)]
    expires_unix_s: Annotated[float, Meta(ge=0, le=1e12)]
    key_id: Annotated[str, Meta(max_length=64)] = ""


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Ticket)


class Signer:
    """One route key, to sign with.

    Args:
        seed: the private key, 32 bytes.
    """

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_key = self._key.public_key().public_bytes_raw()
        self._key_id = key_id(self.public_key)

    def sign(self, tickets: Sequence[Ticket]) -> list[str]:
        """The texts of 1 to 32 tickets, under one signature; last stops are left out where one would grow too long.

        Raises:
            ValueError: none, or too many.
        """
        bodies = [_body_of(ticket) for ticket in tickets]
        if len(bodies) == 1:
            head = _ALONE + self._key_id
            return [_armoured(head + self._key.sign(head + bodies[0]) + bodies[0])]
        head = _TOGETHER + self._key_id
        root, paths = tree_of([head + body for body in bodies])
        start = head + self._key.sign(head + root)
        return [_armoured(start + path + body) for path, body in zip(paths, bodies, strict=True)]


def _body_of(ticket: Ticket) -> bytes:
    body = _ENCODER.encode(ticket)
    while len(body) > _BODY_LIMIT_BYTES and len(ticket.stops) > 1:
        ticket = msgspec.structs.replace(ticket, stops=ticket.stops[:-1])
        body = _ENCODER.encode(ticket)
    return body


def _armoured(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def key_id(public_key: bytes) -> bytes:
    """The name of a route key in tickets: the first 8 bytes of its SHA-256."""
    return hashlib.sha256(public_key).digest()[:_KEY_ID_BYTES]


def verifiers(public_keys: Iterable[bytes]) -> dict[bytes, Ed25519PublicKey]:
    """Public keys by their ids, to read tickets with; what is no key is passed over."""
    keys = (key for key in public_keys if len(key) == PUBLIC_KEY_BYTES)
    return {key_id(key): Ed25519PublicKey.from_public_bytes(key) for key in keys}


def read_ticket(text: str, keys: Mapping[bytes, Ed25519PublicKey], now_unix_s: float) -> Ticket | Flaw:
    """The ticket in a text without `tried`, if it can be believed now."""
    raw = _unarmoured(text)
    if raw is None:
        return "damaged"
    head, signature = raw[:_HEAD_BYTES], raw[_HEAD_BYTES : _HEAD_BYTES + _SIGNATURE_BYTES]
    parts = _signed_and_body(head, raw[_HEAD_BYTES + _SIGNATURE_BYTES :])
    key = keys.get(head[len(_ALONE) :])
    if parts is None:
        return "damaged"
    if key is None:
        return "unknown_key"
    signed, body = parts
    try:
        key.verify(signature, head + signed)
        ticket = _DECODER.decode(body)
    except InvalidSignature:
        return "forged"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # a newer origin's form
        return "damaged"
    return ticket if now_unix_s < ticket.expires_unix_s <= now_unix_s + 2 * LIFE_LIMIT_S else "expired"


def _signed_and_body(head: bytes, rest: bytes) -> tuple[bytes, bytes] | None:
    """What was signed after the head, and the body; None where there is no whole path."""
    if head.startswith(_ALONE):
        return rest, rest
    found = split_path(rest)
    if found is None:
        return None
    path, body = found
    return root_of(head + body, path), body


def _unarmoured(text: str) -> bytes | None:
    """The bytes in a ticket's text; None where they cannot be one of these versions."""
    if len(text) > TEXT_LIMIT or not text.isascii():
        return None
    try:
        raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if raw.startswith((_ALONE, _TOGETHER)) and len(raw) > _HEAD_BYTES + _SIGNATURE_BYTES else None


class OnTheWay(NamedTuple):
    """What is added to a ticket on its way, by the numbers of its stops; nothing of it is signed.

    Attributes:
        tried: they have handed the request on, or failed it.
        passed_by: its client has sent them others since the ticket was made, so they are busier than it says.
    """

    tried: frozenset[int] = frozenset()
    passed_by: frozenset[int] = frozenset()


def split_way(text: str) -> tuple[str, OnTheWay]:
    """A ticket's text as it was signed, and what was added on the way: `.`, the tried, and after a `~` the others."""
    signed, dot, added = text.partition(".")
    if not dot or len(added) > 2 * 16 + 1:
        return signed, OnTheWay()
    tried, _, passed_by = added.partition("~")
    return signed, OnTheWay(_numbers(tried), _numbers(passed_by))


def with_way(signed: str, way: OnTheWay) -> str:
    """A ticket's text with what was added on the way; `edge_node.client.route_lists` writes it as well."""
    tried, passed_by = (
        "".join(f"{number:x}" for number in sorted(numbers) if number < 16) for numbers in way
    )
    return f"{signed}.{tried}{'~' if passed_by else ''}{passed_by}" if tried or passed_by else signed


def _numbers(digits: str) -> frozenset[int]:
    return frozenset(int(digit, 16) for digit in digits if digit in "0123456789abcdef")


def ticket_in(raw_path: str) -> str:
    """The ticket in a URL's path and query, as it stands there; empty without one."""
    _, found, rest = raw_path.partition(_IN_QUERY)
    return rest.partition("&")[0] if found else ""


def without_ticket(raw_path: str) -> str:
    """A URL's path and query without its ticket, all else as it was."""
    if _IN_QUERY not in raw_path:
        return raw_path
    path, _, query = raw_path.partition("?")
    left = "&".join(part for part in query.split("&") if not part.startswith(_IN_QUERY))
    return f"{path}?{left}" if left else path


def stops_of(nodes: Iterable[RankedNode]) -> tuple[Stop, ...]:
    """Ranked nodes as the stops of a ticket, the first few."""
    return tuple(
        Stop(node.node_id, node.url, node.score_s, node.rtt_ms, node.terms_s.get("prefill", 0.0))
        for node in tuple(nodes)[:STOPS_LIMIT_COUNT]
    )
