"""The client key of a local network that asks for keys: made the first time, kept in a file of its owner alone."""

from __future__ import annotations

import secrets
import time
from base64 import urlsafe_b64decode
from typing import TYPE_CHECKING

from registry.client_keys import ID_BYTES, SECRET_BYTES, added, new_key, parse_token
from registry.durable import write_durably
from registry.errors import InputInvalidError
from registry.trust.statements import CLIENT_KEYS_ROLE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from registry.client_keys import ClientKey
    from registry.trust.signed_store import SignedStore

_NAME = "edgeward up"


def load_or_make_key(file: Path) -> str:
    """The key, made at random the first time."""
    if file.is_file() and parse_token(file.read_text("ascii").strip()) is not None:
        return file.read_text("ascii").strip()
    token, _ = new_key(
        id_bytes=secrets.token_bytes(ID_BYTES),
        secret_bytes=secrets.token_bytes(SECRET_BYTES),
        name=_NAME,
        now_unix_s=time.time(),
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    write_durably(file, f"{token}\n".encode("ascii"), mode=0o600)
    return token


def enter_key(store: SignedStore, token: str) -> None:
    """Sign the list of client keys with this one in it, if it is not there; other keys stay. Blocks.

    Raises:
        StoreError, TrustError: it cannot be signed.
    """
    parsed = parse_token(token)
    assert parsed is not None  # `load_or_make_key` made it
    key_id, secret = parsed
    _, key = new_key(
        id_bytes=bytes.fromhex(key_id),
        secret_bytes=urlsafe_b64decode(f"{secret}="),
        name=_NAME,
        now_unix_s=time.time(),
    )

    def with_it(keys: Mapping[str, ClientKey]) -> Mapping[str, ClientKey]:
        return keys if key_id in keys else added(keys, key)

    try:
        store.publisher.change_client_keys(with_it)
    except InputInvalidError:  # a network of before there were client keys; all of its keys are here
        store.publisher.delegate(CLIENT_KEYS_ROLE)
        store.publisher.change_client_keys(with_it)
