"""Keys: Ed25519 private keys in a directory of their owner alone, never in the object store.

Each key is a file `<label>-<start of its id>.key` (PKCS 8 PEM, encrypted if there is a passphrase). Which key may sign
what is said by the metadata alone: a key that they do not name any more is of no use, and its file may be deleted.
`root.json` beside the keys is the first root, which nodes and readers pin; `targets.json` are the first delegations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner

from registry.durable import write_durably
from registry.errors import KeyUnusableError
from registry.trust.private_keys import make_key_directory, private_pem, read_private, write_private

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from securesystemslib.signer import Key

ROOT_FILE = "root.json"
TARGETS_FILE = "targets.json"
_SHOWN_LENGTH = 8


class Keys(Protocol):
    """The keys that somebody holds."""

    @property
    def place(self) -> str:
        """Where they are, for messages."""
        ...

    def make(self, label: str) -> Key:
        """Make a key and keep it; its public part."""
        ...

    def signers(self, key_ids: Collection[str]) -> list[CryptoSigner]:
        """Those of these keys that are here."""
        ...

    def read(self, file: str) -> bytes:
        """A public file beside the keys. Raises KeyUnusableError."""
        ...

    def write(self, file: str, data: bytes) -> None:
        """Keep a public file beside the keys."""
        ...


class DetachedSigner:
    """Signs bytes with an Ed25519 key; the signature stands by itself."""

    def __init__(self, signer: CryptoSigner) -> None:
        self._signer = signer

    @property
    def public_hex(self) -> str:
        """The public key, 64 hex digits."""
        public: str = self._signer.public_key.keyval["public"]
        return public

    def sign(self, data: bytes) -> str:
        """The signature, 128 hex digits."""
        return self._signer.sign(data).signature


class KeyDirectory:
    """Keys in a directory.

    Args:
        directory: made when something is written, for its owner alone.
        passphrase: encrypts new keys and decrypts old ones; empty keeps them plain, guarded by their mode alone.
    """

    def __init__(self, directory: Path, passphrase: str = "") -> None:
        self.directory = directory
        self._passphrase = passphrase.encode()
        self._loaded: dict[str, CryptoSigner] = {}

    @property
    def place(self) -> str:
        """The directory."""
        return str(self.directory)

    @property
    def begun(self) -> bool:
        """Whether there is a root of trust here."""
        return (self.directory / ROOT_FILE).is_file()

    def make(self, label: str) -> Key:
        """Make a key and keep it, durably, before anything names it."""
        private = Ed25519PrivateKey.generate()
        signer = CryptoSigner(private)
        make_key_directory(self.directory)
        name = f"{label}-{signer.public_key.keyid[:_SHOWN_LENGTH]}.key"
        write_private(self.directory / name, private_pem(private, self._passphrase))
        return signer.public_key

    def signers(self, key_ids: Collection[str]) -> list[CryptoSigner]:
        """Those of these keys that are here.

        Raises:
            KeyUnusableError: a key cannot be read, or others can read it too.
        """
        for path in sorted(self.directory.glob("*-*.key")):
            if any(key_id.startswith(path.stem.rpartition("-")[2]) for key_id in key_ids):
                signer = self._load(path)
                self._loaded[signer.public_key.keyid] = signer
        return [self._loaded[key_id] for key_id in key_ids if key_id in self._loaded]

    def lend(self, label: str, directory: Path) -> None:
        """Copy the keys of one label, and the first root, to a directory for whoever needs no others."""
        make_key_directory(directory)
        for path in self.directory.glob(f"{label}-*.key"):
            write_private(directory / path.name, path.read_bytes())
        KeyDirectory(directory).write(ROOT_FILE, self.read(ROOT_FILE))

    def labels(self) -> tuple[tuple[str, str], ...]:
        """The label of each key here, and the start of its id."""
        names = [path.stem.rpartition("-") for path in sorted(self.directory.glob("*-*.key"))]
        return tuple((label, start) for label, _, start in names)

    def detached(self, label: str) -> DetachedSigner:
        """The newest key of a label that signs outside of the metadata; made at the first use.

        Raises:
            KeyUnusableError: it cannot be read.
        """
        if not any(made == label for made, _ in self.labels()):
            self.make(label)
        paths = sorted(self.directory.glob(f"{label}-*.key"), key=lambda path: path.stat().st_mtime_ns)
        return DetachedSigner(self._load(paths[-1]))

    def read(self, file: str) -> bytes:
        """A public file beside the keys.

        Raises:
            KeyUnusableError: it is not there.
        """
        try:
            return (self.directory / file).read_bytes()
        except OSError as error:
            raise KeyUnusableError(
                f"{self.directory / file} cannot be read ({error.strerror}); `edgeward keys init` makes keys, "
                "and store.keys_dir says where they are"
            ) from error

    def write(self, file: str, data: bytes) -> None:
        """Keep a public file beside the keys."""
        make_key_directory(self.directory)
        write_durably(self.directory / file, data)

    def _load(self, path: Path) -> CryptoSigner:
        private = read_private(path, self._passphrase)
        if not isinstance(private, Ed25519PrivateKey):
            raise KeyUnusableError(f"{path} is not an Ed25519 key")
        return CryptoSigner(private)


class KeysInMemory:
    """Keys that end with the process: for tests and examples."""

    place = "memory"

    def __init__(self) -> None:
        self.signers_by_id: dict[str, CryptoSigner] = {}
        self.files: dict[str, bytes] = {}

    def make(self, label: str) -> Key:
        """Make a key and keep it."""
        del label
        signer = CryptoSigner.generate_ed25519()
        self.signers_by_id[signer.public_key.keyid] = signer
        return signer.public_key

    def signers(self, key_ids: Collection[str]) -> list[CryptoSigner]:
        """Those of these keys that are here."""
        return [self.signers_by_id[key_id] for key_id in key_ids if key_id in self.signers_by_id]

    def read(self, file: str) -> bytes:
        """A public file beside the keys."""
        return self.files[file]

    def write(self, file: str, data: bytes) -> None:
        """Keep a public file beside the keys."""
        self.files[file] = data
