"""Real NATS servers as they are run in earnest: with TLS, with accounts and credentials, in a cluster."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import time

import nkeys

from deploy.local.child import stop_children
from deploy.local.nats import start_nats


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Servers:
    """Servers by their names, each with settings of its own."""

    def __init__(self, directory):
        self._directory = directory
        self.running = {}

    def start(self, name, settings=None):
        file = self._directory / f"{name}.conf"
        if settings is not None:
            file.write_text(settings, "utf-8")
        self.running[name] = start_nats(file, self._directory / f"{name}.log")

    def kill(self, name):
        self.running.pop(name).kill()

    def stop(self):
        stop_children([each for each in self.running.values() if each.running], 10)


def plain_settings(port, more=""):
    return f"host: 127.0.0.1\nport: {port}\n{more}"


def tls_settings(port, certificate, key, more=""):
    return plain_settings(port, f'tls {{ cert_file: "{certificate}", key_file: "{key}" }}\n{more}')


def cluster_settings(number, ports, route_ports, directory):
    """One of several servers that keep records together."""
    routes = ", ".join(f"nats://127.0.0.1:{port}" for port in route_ports)
    return (
        f"server_name: n{number}\n"
        + plain_settings(ports[number])
        + f'jetstream {{ store_dir: "{directory / f"n{number}"}", max_memory_store: 16MB, max_file_store: 64MB }}\n'
        + f"cluster {{ name: edgeward, host: 127.0.0.1, port: {route_ports[number]}, routes: [{routes}] }}\n"
    )


class Operator:
    """What `nsc` makes: an operator, one account of it with JetStream, and users' credentials."""

    def __init__(self):
        self._operator, self._account = _pair(nkeys.PREFIX_BYTE_OPERATOR), _pair(nkeys.PREFIX_BYTE_ACCOUNT)
        self._system = _pair(nkeys.PREFIX_BYTE_ACCOUNT)

    def settings(self, port, directory):
        limits = {
            "subs": -1,
            "data": -1,
            "payload": -1,
            "imports": -1,
            "exports": -1,
            "wildcards": True,
            "conn": -1,
        }
        limits |= {"leaf": -1, "mem_storage": 2**24, "disk_storage": 2**26, "streams": -1, "consumer": -1}
        account = {"type": "account", "version": 2, "limits": limits}
        system = {"type": "account", "version": 2, "limits": limits | {"mem_storage": 0, "disk_storage": 0}}
        operator = {"type": "operator", "version": 2, "system_account": _name(self._system)}
        return plain_settings(
            port,
            f"operator: {_jwt(self._operator, _name(self._operator), 'operator', operator)}\n"
            f"system_account: {_name(self._system)}\n"
            "resolver: MEMORY\n"
            f"resolver_preload: {{ {_name(self._account)}: {_jwt(self._operator, _name(self._account), 'a', account)}, "
            f"{_name(self._system)}: {_jwt(self._operator, _name(self._system), 'SYS', system)} }}\n"
            f'jetstream {{ store_dir: "{directory / "js"}", max_memory_store: 32MB, max_file_store: 128MB }}\n',
        )

    def credentials(self, file):
        """A credentials file of a new user."""
        seed = _seed(nkeys.PREFIX_BYTE_USER)
        user = nkeys.from_seed(bytearray(seed))
        claims = {"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1, "pub": {}, "sub": {}}
        text = _jwt(self._account, _name(user), "origin", claims)
        file.write_text(
            f"-----BEGIN NATS USER JWT-----\n{text}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{seed.decode()}\n------END USER NKEY SEED------\n"
        )
        return file


def _seed(prefix):
    return nkeys.encode_seed(os.urandom(32), prefix)


def _pair(prefix):
    return nkeys.from_seed(bytearray(_seed(prefix)))


def _name(pair):
    return pair.public_key.decode()


def _part(value):
    text = json.dumps(value, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def _jwt(issuer, subject, name, nats):
    """A JWT as NATS signs them (ADR-14)."""
    claims = {"iat": int(time.time()), "iss": _name(issuer), "name": name, "sub": subject, "nats": nats}
    digest = hashlib.new("sha512_256", json.dumps(claims).encode()).digest()
    claims["jti"] = base64.b32encode(digest).rstrip(b"=").decode()
    signed = f"{_part({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{_part(claims)}"
    signature = base64.urlsafe_b64encode(issuer.sign(signed.encode())).rstrip(b"=").decode()
    return f"{signed}.{signature}"
