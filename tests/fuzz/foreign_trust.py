"""Signed metadata from strangers: a file that was changed on its way, and one that a publisher's own keys signed."""

from __future__ import annotations

import json
from functools import cache

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata

from registry.catalog import Catalog
from registry.digest import digest_of
from registry.errors import TrustTamperedError
from registry.layout import trust_key
from registry.store.memory import MemoryStore
from registry.trust.in_memory import signed_in_memory
from registry.trust.statements import SignedRelease, contents_of
from registry.trust.verification import LONG_AGO, Verified, advance, check_root, verifying

FILES = ("timestamp.json", "1.snapshot.json", "1.targets.json", "1.models.json", "2.root.json")


@cache
def signed_files() -> tuple[dict[str, bytes], bytes]:
    """All files of a store with one release, and its root."""
    objects = MemoryStore()
    store = signed_in_memory(objects)
    said = SignedRelease(sha256=digest_of(b"manifest"), length_bytes=8)
    Catalog(store).add("chat", "1", said, channel="stable")
    files = {info.key.removeprefix("tuf/"): objects.get(info.key).data for info in objects.list("tuf/")}
    return files, objects.get(trust_key("1.root.json")).data


def read_trust(data: bytes) -> None:
    """A byte that chooses which file the others stand for; the rest of the files is as it was signed."""
    files, pin = signed_files()
    changed = FILES[(data[0] if data else 0) % len(FILES)]
    steps = verifying({}, pin, at=LONG_AGO)
    wanted = advance(steps, None)
    while not isinstance(wanted, Verified):
        answer = data[1:] if wanted.file == changed else files.get(wanted.file)
        wanted = advance(steps, answer)
    for error in wanted.problems.values():
        assert error.code.startswith("trust.")


def read_root(data: bytes) -> None:
    """A root that a person named, or an origin showed first."""
    check_root(data)


def read_statements(data: bytes) -> None:
    """What a publisher with real keys may have signed."""
    try:
        signed = Metadata.from_bytes(data).signed
    except RepositoryError as error:  # python-tuf's own refusal, which `verifying` turns into ours
        raise TrustTamperedError(str(error)) from error
    files, _ = signed_files()
    delegations = Metadata.from_bytes(files["1.targets.json"]).signed.delegations
    if signed.type == "targets":
        said = contents_of(signed, delegations.roles["models"])
        for release in said.releases.values():
            assert len(release.sha256) == 64
    signed.expires.timestamp()


def trust_seeds() -> list[bytes]:
    """Each file in its place, and the first root as the second."""
    files, pin = signed_files()
    return [bytes([number]) + files.get(name, pin) for number, name in enumerate(FILES)]


def root_seeds() -> list[bytes]:
    """The root."""
    return [signed_files()[1]]


def statement_seeds() -> list[bytes]:
    """A publisher's role, with everything that it may say."""
    plain = json.loads(signed_files()[0]["1.models.json"])
    target = next(iter(plain["signed"]["targets"].values()))
    target["custom"] = {"yanked": True}
    return [signed_files()[0]["1.models.json"], json.dumps(plain).encode()]
