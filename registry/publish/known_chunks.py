"""Chunks that earlier releases have stored already, so that they need not be stored again."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import structlog

from registry.errors import ManifestInvalidError, ReleaseUnknownError, ReleaseYankedError, TrustError
from registry.layout import pack_key

if TYPE_CHECKING:
    from registry.catalog import Catalog, ReleaseId
    from registry.digest import Digest
    from registry.manifest import Chunk, Manifest, Pack
    from registry.store import ObjectStore

_OTHER_NAMES_LIMIT_COUNT = 32

log = structlog.get_logger()


class Stored(NamedTuple):
    """Where the stored form of a chunk lies."""

    pack: Pack
    offset_bytes: int
    stored_bytes: int


def find_known_chunks(catalog: Catalog, store: ObjectStore, name: str) -> dict[Digest, Stored]:
    """The chunks of all releases of this model, and of some other models, that the store really holds.

    A pack is used again only after the store has said that it is there, whole: a release must not depend on what
    someone has removed.
    """
    known: dict[Digest, Stored] = {}
    packs: dict[Pack, bool] = {}
    for release in _worth_reading(catalog.releases(), name):
        try:
            _, manifest = catalog.manifest(release.name, release.version)
        except (ReleaseUnknownError, ReleaseYankedError):  # withdrawn since it was listed
            continue
        except (ManifestInvalidError, TrustError) as error:
            log.warning("manifest.skipped", release=str(release), error=error.message)
            continue
        for pack in manifest.packs:
            if pack not in packs:
                info = store.head(pack_key(pack.digest))
                packs[pack] = info is not None and info.length_bytes == pack.length_bytes
        for chunk in manifest.chunks:
            if packs[manifest.packs[chunk.pack]]:
                known.setdefault(chunk.digest, _stored(manifest, chunk))
    return known


def _stored(manifest: Manifest, chunk: Chunk) -> Stored:
    return Stored(manifest.packs[chunk.pack], chunk.offset_bytes, chunk.stored_bytes)


def _worth_reading(releases: tuple[ReleaseId, ...], name: str) -> list[ReleaseId]:
    same = [release for release in releases if release.name == name]
    others = [release for release in releases if release.name != name]
    return same + others[-_OTHER_NAMES_LIMIT_COUNT:]
