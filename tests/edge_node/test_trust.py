"""What a node admits: releases that were signed, and that its channel points at; it says why not."""

from __future__ import annotations

import asyncio

import pytest

from edge_node.supervisor import Clock
from edge_node.trust import NodeTrust
from origin.api import WantedRelease
from origin.errors import OriginUnreachableError
from registry.catalog import Catalog
from registry.digest import digest_of
from registry.errors import (
    ObjectMissingError,
    ReleaseYankedError,
    TrustExpiredError,
    TrustRollbackError,
    TrustRootMissingError,
    TrustTamperedError,
    TrustUnsignedError,
)
from registry.layout import trust_key
from registry.trust.in_memory import signed_in_memory
from registry.trust.kept import KeptInDirectory
from registry.trust.statements import SignedRelease

DAY_S = 86_400.0


class Bucket:
    """Signed metadata behind an origin that hands on whatever lies there."""

    def __init__(self):
        self.now_s = 1_800_000_000.0
        self.store = signed_in_memory(now_unix_s=lambda: self.now_s)
        self.catalog = Catalog(self.store)
        self.files = None
        self.failure = None
        self.asked = []

    def publish(self, version):
        data = f"manifest {version}".encode()
        said = SignedRelease(sha256=digest_of(data), length_bytes=len(data))
        self.catalog.add("chat", version, said, channel="stable")
        return WantedRelease("chat", version, digest_of(data))

    def copy(self):
        return {info.key: self.store.get(info.key).data for info in self.store.list("tuf/")}

    async def trust_file(self, file, limit_bytes):
        self.asked.append(file)
        if self.failure is not None:
            raise self.failure
        if self.files is not None:
            return self.files.get(trust_key(file))
        try:
            return self.store.get(trust_key(file)).data
        except ObjectMissingError:
            return None


@pytest.fixture
def bucket():
    return Bucket()


@pytest.fixture
def make_trust(tmp_path, bucket, virtual_clock):
    def make(*, root=None, takes_first_root=False):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "root.json").write_bytes(bucket.store.reader.pin if root is None else root)
        return NodeTrust(
            source=bucket,
            data_dir=tmp_path / "data",
            trusted_root=None if root == b"" else tmp_path / "root.json",
            takes_first_root=takes_first_root,
            channel="stable",
            clock=Clock(now_s=virtual_clock.now_s, sleep=virtual_clock.sleep),
            now_unix_s=lambda: bucket.now_s,
        )

    return make


async def test_what_was_signed_is_admitted_at_the_price_of_few_requests(bucket, make_trust):
    first = bucket.publish("1")
    trust = make_trust()
    await trust.admit(first)
    assert trust.status().state == "verified"
    second = bucket.publish("2")
    del bucket.asked[:]
    await trust.admit(second)
    assert len(bucket.asked) == 4  # with the manifest and one range of a pack: 6 requests for an update


async def test_asking_for_several_models_at_once_reads_one_after_the_other(bucket, make_trust, monkeypatch):
    """Two readers of one directory would write over each other's files."""
    wanted = bucket.publish("1")
    opened = []
    real = KeptInDirectory.__init__
    monkeypatch.setattr(
        KeptInDirectory, "__init__", lambda kept, *rest: opened.append(kept) or real(kept, *rest)
    )
    trust = make_trust()
    await asyncio.gather(*(trust.admit(wanted) for _ in range(8)))
    assert len(opened) == 1


@pytest.mark.parametrize(
    "lie",
    [
        lambda wanted: WantedRelease("chat", "2", "0" * 64),
        lambda wanted: WantedRelease("chat", "3", wanted.manifest_sha256),
        lambda wanted: WantedRelease(
            "chat", "1", digest_of(b"manifest 1")
        ),  # signed, and not what stable says
    ],
)
async def test_an_origin_that_lies_is_not_followed(bucket, make_trust, lie):
    bucket.publish("1")
    wanted = bucket.publish("2")
    trust = make_trust()
    with pytest.raises(TrustUnsignedError):
        await trust.admit(lie(wanted))
    await trust.admit(wanted)


async def test_a_withdrawn_release_is_refused(bucket, make_trust):
    bucket.publish("1")
    wanted = bucket.publish("2")
    bucket.catalog.yank("chat", "2")
    with pytest.raises(ReleaseYankedError):
        await make_trust().admit(wanted)


async def test_an_old_store_is_refused_after_a_restart_too(bucket, make_trust):
    bucket.publish("1")
    old = bucket.copy()
    await make_trust().admit(bucket.publish("2"))
    bucket.files = old
    with pytest.raises(TrustRollbackError):
        await make_trust().admit(WantedRelease("chat", "1", digest_of(b"manifest 1")))


async def test_expiry_stops_installs_and_a_renewal_mends_it(bucket, make_trust, virtual_clock):
    wanted = bucket.publish("1")
    trust = make_trust()
    await trust.admit(wanted)
    bucket.now_s += DAY_S + 60
    await virtual_clock.advance(DAY_S + 60)
    with pytest.raises(TrustExpiredError):
        await trust.admit(wanted)
    status = trust.status()
    assert (status.state, status.age_s, status.expires_in_s) == ("expired", DAY_S + 60, -60)
    bucket.store.publisher.renew()
    await trust.admit(wanted)
    assert (trust.status().state, trust.status().age_s) == ("verified", 0)


async def test_an_origin_that_is_away_is_no_breach_of_trust(bucket, make_trust):
    wanted = bucket.publish("1")
    trust = make_trust()
    await trust.admit(wanted)
    bucket.failure = OriginUnreachableError("away")
    with pytest.raises(OriginUnreachableError):
        await trust.admit(wanted)
    assert (trust.status().state, trust.status().problem) == ("verified", "away")


async def test_without_a_root_nothing_is_admitted(bucket, make_trust):
    wanted = bucket.publish("1")
    trust = make_trust(root=b"")
    with pytest.raises(TrustRootMissingError, match="installs nothing"):
        await trust.admit(wanted)
    assert trust.status().state == "no_root"
    assert bucket.asked == []


async def test_a_root_file_that_is_none_is_refused(bucket, make_trust):
    wanted = bucket.publish("1")
    with pytest.raises(TrustTamperedError, match="no root of trust"):
        await make_trust(root=b"{}").admit(wanted)


async def test_the_first_root_is_taken_once(bucket, make_trust):
    wanted = bucket.publish("1")
    await make_trust(root=b"", takes_first_root=True).admit(wanted)
    bucket.files = {trust_key("1.root.json"): signed_in_memory().reader.pin}
    with pytest.raises(Exception, match=r"timestamp\.json"):  # the second origin's root is not even asked for
        await make_trust(root=b"", takes_first_root=True).admit(wanted)


async def test_it_looks_by_itself(bucket, make_trust, virtual_clock):
    import asyncio

    bucket.publish("1")
    trust = make_trust()
    looking = asyncio.create_task(trust.keep_fresh())
    async with asyncio.timeout(10):
        while not virtual_clock.pauses_s:  # noqa: ASYNC110  # its sleeping is the only sign
            await asyncio.sleep(0)
    assert trust.status().state == "verified"
    assert "1.models.json" not in bucket.asked  # nobody's word is needed while nothing is installed
    looking.cancel()
