"""TLS of a server: contexts from a certificate's files, replaced whole while the server runs."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, NoReturn

import structlog

from registry.errors import ConfigError
from registry.file_stamp import file_stamp

if TYPE_CHECKING:
    from pathlib import Path

    from registry.file_stamp import FileStamp

log = structlog.get_logger()

LOOK_S = 5.0


class SwappedContext:
    """A server's context that hands each new connection to the newest one that was given.

    A certificate and its key cannot be replaced in one context without a moment at which they do not match; so every
    connection is moved to a whole other context when its first message arrives (the callback for SNI, which OpenSSL
    calls for clients that name no host too).
    """

    def __init__(self, first: ssl.SSLContext) -> None:
        self.outer = first
        self._newest = first
        first.sni_callback = self._move

    def replace(self, context: ssl.SSLContext) -> None:
        """Use this one from the next connection on."""
        self._newest = context

    def _move(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._newest


class TlsFiles:
    """A server's certificate in two files, read again when one of them changes.

    Args:
        section: of the settings, for messages.
        certificate_file: the certificate and those between it and its authority, PEM.
        key_file: its key, PEM, without a passphrase.

    Raises:
        ConfigError: they cannot be read, or do not belong together.
    """

    def __init__(self, section: str, certificate_file: Path, key_file: Path) -> None:
        self._section = section
        self._files = (certificate_file, key_file)
        self._seen = self._stamps()
        self._problem = ""
        self._swapped = SwappedContext(self._read())

    @property
    def context(self) -> ssl.SSLContext:
        """What to listen with."""
        return self._swapped.outer

    def look(self) -> bool:
        """Read the files if they changed; what cannot be used is logged, and the old certificate stays."""
        stamps = self._stamps()
        if stamps == self._seen:
            return False
        try:
            context = self._read()
        except ConfigError as error:  # perhaps one of the two is not written yet: the next look tries again
            if error.message != self._problem:
                log.warning("certificate.refused", problem=error.message)
            self._problem = error.message
            return False
        self._seen, self._problem = stamps, ""
        self._swapped.replace(context)
        log.info("certificate.replaced", file=str(self._files[0]))
        return True

    async def watch(self) -> NoReturn:
        """Look for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            await asyncio.to_thread(self.look)

    def _read(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(*self._files, password=_no_passphrase)
        except (OSError, ssl.SSLError) as error:
            certificate, key = self._files
            raise ConfigError(
                f"{self._section}.tls_cert_file = {certificate} with tls_key_file = {key} cannot be used: "
                f"{error.strerror or error}"
            ) from error
        return context

    def _stamps(self) -> tuple[FileStamp | None, ...]:
        return tuple(file_stamp(file) for file in self._files)


def tls_files(section: str, certificate_file: Path | None, key_file: Path | None) -> TlsFiles | None:
    """The certificate that settings name; None when they name none.

    Raises:
        ConfigError: they name one file of the two, or files that cannot be used.
    """
    if certificate_file is None and key_file is None:
        return None
    if certificate_file is None or key_file is None:
        raise ConfigError(f"{section}.tls_cert_file and {section}.tls_key_file go together: say both")
    return TlsFiles(section, certificate_file, key_file)


def _no_passphrase() -> str:
    # Without this OpenSSL asks the terminal, and a daemon would wait for it.
    raise ssl.SSLError("the key has a passphrase; write it without")
