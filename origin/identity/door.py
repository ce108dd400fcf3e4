"""The origin's door for nodes: TLS 1.3 with the authority's own certificate, and who stands there.

OpenSSL checks that a node's certificate was signed by the authority and that the node has its key; its time is judged
for each request (`standing.py`), since connections outlive certificates and a refusal can then say why.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from cryptography import x509

from origin.identity.certificates import lifetime_of, read_certificates, read_node_certificate
from registry.durable import make_folders, write_durably
from registry.tls import SwappedContext

if TYPE_CHECKING:
    from asyncio import BaseTransport
    from pathlib import Path

    from origin.identity.authority import FleetAuthority
    from origin.identity.certificates import NodeCertificate

_NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which Python passes on and does not name."""
_PAIR_FILE = "door.pem"


class Door:
    """The listener's context; its certificate is made anew when half of its life is over.

    Args:
        data_dir: the origin's own directory; the key of the certificate lies there, for its owner alone.
    """

    def __init__(self, authority: FleetAuthority, data_dir: Path, now_unix_s: float) -> None:
        self._data_dir = data_dir
        self._nodes: WeakKeyDictionary[ssl.SSLObject, NodeCertificate] = WeakKeyDictionary()
        self.authority = authority
        self.not_after_unix_s = 0.0
        self._renew_at_unix_s = 0.0
        make_folders(data_dir, 0o700)
        self._swapped = SwappedContext(self._made(authority, now_unix_s))

    @property
    def context(self) -> ssl.SSLContext:
        """What to listen with."""
        return self._swapped.outer

    def renew(self, authority: FleetAuthority, now_unix_s: float) -> bool:
        """Make a new certificate if it is time, or if the authority is another; whether it did. Blocks."""
        if authority.pems == self.authority.pems and now_unix_s < self._renew_at_unix_s:
            return False
        self._swapped.replace(self._made(authority, now_unix_s))
        self.authority = authority
        return True

    def is_here(self, transport: BaseTransport | None) -> bool:
        """Whether a connection came through this door."""
        return transport is not None and transport.get_extra_info("sslcontext") is self.context

    def node_at(self, transport: BaseTransport | None) -> NodeCertificate | None:
        """Whose certificate a connection through this door showed; None when none.

        Raises:
            CertificateUnfitError: it is not one of a node.
        """
        connection = transport.get_extra_info("ssl_object") if transport is not None else None
        if connection is None:
            return None
        known = self._nodes.get(connection)
        if known is None:
            shown = connection.getpeercert(binary_form=True)
            if not shown:
                return None
            known = read_node_certificate(x509.load_der_x509_certificate(shown), self.authority.certificates)
            self._nodes[connection] = known
        return known

    def _made(self, authority: FleetAuthority, now_unix_s: float) -> ssl.SSLContext:
        pair = authority.certify_origin(now_unix_s)
        place = self._data_dir / _PAIR_FILE
        write_durably(place, pair, mode=0o600)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.num_tickets = 0  # a resumed session would show the certificate of then
        context.load_cert_chain(place)
        context.verify_mode = ssl.CERT_OPTIONAL  # who joins has none yet
        context.verify_flags |= _NO_CHECK_TIME
        context.load_verify_locations(cadata="".join(authority.pems))
        begins, ends = lifetime_of(read_certificates(pair.decode())[0])
        self.not_after_unix_s, self._renew_at_unix_s = ends, begins + (ends - begins) / 2
        return context
