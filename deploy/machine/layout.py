"""Where an installed node's files are; all else follows from the root of the file system."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

NODE = "edgeward-node.service"
SOCKET = "edgeward-node.socket"
USER = "edgeward"


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths below a root, which is `/` but in tests and images."""

    root: Path = Path("/")

    @property
    def program(self) -> Path:
        """All releases of the program."""
        return self.root / "usr/lib/edgeward"

    @property
    def releases(self) -> Path:
        """One directory a release."""
        return self.program / "releases"

    @property
    def current(self) -> Path:
        """A link to the release that the next start runs."""
        return self.program / "current"

    @property
    def before(self) -> Path:
        """A link to the one before it, which a failed upgrade goes back to."""
        return self.program / "before"

    @property
    def command(self) -> Path:
        """What people and units start."""
        return self.root / "usr/bin/edgeward"

    @property
    def units(self) -> Path:
        """The units of the distribution and of packages; changes of the admin are elsewhere."""
        return self.root / "usr/lib/systemd/system"

    @property
    def drop_ins(self) -> Path:
        """The admin's changes of units."""
        return self.root / "etc/systemd/system"

    @property
    def sysusers(self) -> Path:
        """The declaration of the service's user."""
        return self.root / "usr/lib/sysusers.d/edgeward.conf"

    @property
    def settings(self) -> Path:
        """The node's settings."""
        return self.root / "etc/edgeward/edgeward.toml"

    @property
    def tls(self) -> Path:
        """Certificate and key for clients, where `edgeward node certificate` puts them."""
        return self.root / "etc/edgeward/tls"

    @property
    def token(self) -> Path:
        """The token to join with; read by systemd alone."""
        return self.root / "etc/edgeward/join-token"

    @property
    def state(self) -> Path:
        """Releases of models, the node's identity."""
        return self.root / "var/lib/edgeward"
