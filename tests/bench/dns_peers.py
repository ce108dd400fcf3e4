"""gdnsd, the name server that answers by place as ours does, set up for the same question."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

CONFIG = """
options => {{
  listen => "127.0.0.1:{port}", run_dir => "{home}", state_dir => "{home}", udp_threads => 1, tcp_threads => 1,
}}
plugins => {{ geoip => {{
  maps => {{ world => {{ datacenters => [a, b, c], auto_dc_limit => 3, nets => {{ {nets} }} }} }}
  resources => {{ chat => {{ map => world, dcmap => {{ {places} }} }} }}
}} }}
"""
ZONE = """$TTL 20
@ SOA ns1 hostmaster 1 7200 900 1209600 20
@ NS ns1
ns1 A 127.0.0.1
chat DYNA geoip!chat
"""
ORDERS = ("[a, b, c]", "[b, c, a]", "[c, a, b]")


def why_not():
    """Why there is no gdnsd here; empty where there is."""
    return "" if shutil.which("gdnsd") else "gdnsd is not installed (Debian: gdnsd)"


@contextlib.contextmanager
def gdnsd():
    """A running gdnsd; gives its port and process id."""
    with tempfile.TemporaryDirectory() as text:
        home = Path(text)
        (home / "zones").mkdir()
        (home / "zones" / "route.example.org").write_text(ZONE)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        nets = ", ".join(
            f'"{first}.0.0.0/8" => {ORDERS[first % 3]}' for first in range(1, 224) if first not in {10, 127}
        )
        places = ", ".join(
            f"{name} => {{ addrs_v4 => {{ one => 192.0.2.{n} }}, addrs_v6 => {{ one => 2001:db8::{n} }} }}"
            for n, name in enumerate("abc", 1)
        )
        (home / "config").write_text(CONFIG.format(port=port, home=home, nets=nets, places=places))
        with (home / "log").open("wb") as log:
            running = subprocess.Popen(["gdnsd", "-c", text, "-f", "start"], stdout=log, stderr=log)
        try:
            _wait(port, running, home / "log")
            yield port, running.pid
        finally:
            running.terminate()
            running.wait(10)


def _wait(port, running, log):
    ends_s = time.monotonic() + 10
    while time.monotonic() < ends_s and running.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"gdnsd did not start: {log.read_text()[-1500:]}")
