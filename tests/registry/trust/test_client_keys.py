"""The list of client keys, signed: who may say it, and that nobody can set it back."""

import pytest

from registry.client_keys import added, new_key, revoked
from registry.errors import InputInvalidError, KeyUnusableError, TrustRollbackError
from registry.store.memory import MemoryStore
from registry.trust.in_memory import signed_in_memory
from registry.trust.kept import KeptInMemory
from registry.trust.reader import RemoteReader
from registry.trust.statements import CLIENT_KEYS_ROLE, is_role, role_of, role_of_namespace

ROLES = frozenset({CLIENT_KEYS_ROLE})


def key(number, name="shop"):
    return new_key(
        id_bytes=bytes([number] * 6), secret_bytes=bytes([number] * 32), name=name, now_unix_s=1_700_000_000
    )[1]


@pytest.fixture
def signed():
    return signed_in_memory()


def remote(signed, kept=None, files=None):
    async def get(file, limit_bytes):
        del limit_bytes
        return (files or {}).get(file) or signed.reader.read()[0].files.get(file)

    return RemoteReader(get, signed.reader.pin, kept or KeptInMemory(), now_unix_s=signed.reader.now_unix_s)


async def test_what_was_signed_is_read_by_whoever_asks_for_it(signed):
    for number in (2, 1):
        signed.publisher.change_client_keys(lambda keys, number=number: added(keys, key(number)))
    said = (await remote(signed).read(frozenset(), roles=ROLES)).contents[CLIENT_KEYS_ROLE]
    assert dict(said.client_keys) == {"01" * 6: key(1), "02" * 6: key(2)}
    assert not said.releases
    assert CLIENT_KEYS_ROLE not in (await remote(signed).read(frozenset({"chat"}))).contents


async def test_a_list_from_before_is_refused(signed):
    signed.publisher.change_client_keys(lambda keys: added(keys, key(1)))
    old, kept = dict(signed.reader.read()[0].files), KeptInMemory()
    signed.publisher.change_client_keys(lambda keys: revoked(keys, "01" * 6, now_unix_s=1_700_000_001))
    verified = await remote(signed, kept).read(frozenset(), roles=ROLES)
    assert verified.contents[CLIENT_KEYS_ROLE].client_keys["01" * 6].revoked_unix_s
    with pytest.raises(TrustRollbackError):
        await remote(signed, kept, old).read(frozenset(), roles=ROLES)


def test_nothing_is_signed_where_nothing_changes(signed):
    signed.publisher.change_client_keys(lambda keys: added(keys, key(1)))
    before = signed.reader.read()[1]
    signed.publisher.change_client_keys(lambda keys: keys)
    assert signed.reader.read()[1] == before


def test_who_publishes_models_makes_no_client_keys(signed):
    keys = signed._keys
    delegations = signed.publisher._first_targets().delegations
    for key_id in delegations.roles[CLIENT_KEYS_ROLE].keyids:
        del keys.signers_by_id[key_id]
    with pytest.raises(KeyUnusableError, match="too few keys"):
        signed.publisher.change_client_keys(lambda keys: added(keys, key(1)))


def test_the_role_is_reserved():
    assert role_of_namespace(CLIENT_KEYS_ROLE) == CLIENT_KEYS_ROLE
    assert is_role(CLIENT_KEYS_ROLE)
    assert not is_role(role_of(f"{CLIENT_KEYS_ROLE}/chat")), "a namespace of that name has no role"


async def test_an_older_root_of_trust_gets_the_role_by_delegation(signed):
    targets = signed.publisher._first_targets()
    assert CLIENT_KEYS_ROLE in targets.delegations.roles
    signed.publisher.change_client_keys(lambda keys: added(keys, key(1)))
    signed.publisher.delegate(CLIENT_KEYS_ROLE)  # another key for it; the list is signed anew
    said = (await remote(signed).read(frozenset(), roles=ROLES)).contents[CLIENT_KEYS_ROLE]
    assert set(said.client_keys) == {"01" * 6}


def test_without_the_role_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("registry.trust.ceremony.CLIENT_KEYS_ROLE", "other")
    signed = signed_in_memory(MemoryStore())
    with pytest.raises(InputInvalidError, match="edgeward keys delegate client-keys"):
        signed.publisher.change_client_keys(lambda keys: added(keys, key(1)))
