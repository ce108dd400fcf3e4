"""Releases made by a scripted origin, in a signed store that a real origin serves from."""

from __future__ import annotations

from registry.catalog import Catalog
from registry.layout import manifest_key
from registry.trust.in_memory import signed_in_memory
from registry.trust.statements import statement_of


class Registry:
    """An object store with releases in it."""

    def __init__(self, scripted_origin):
        self.store = signed_in_memory()
        self.root = self.store.reader.pin
        self._made = scripted_origin

    def publish(self, name, version, chunks):
        self._made.publish(name, version, chunks)
        for key, data in self._made.packs.items():
            self.store.put_if_absent(key, data)
        data = self._made.manifests[name, version]
        said = statement_of(data)
        self.store.put_if_absent(manifest_key(name, version, said.sha256), data)
        Catalog(self.store).add(name, version, said, channel="stable")
