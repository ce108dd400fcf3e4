from __future__ import annotations

import os
import socket
import time

import pytest

from registry.errors import ConfigError
from registry.systemd import notify, passed_count, socket_of, watchdog


@pytest.mark.parametrize(
    ("environ", "count"),
    [
        ({}, 0),
        ({"LISTEN_FDS": "1"}, 0),
        ({"LISTEN_FDS": "1", "LISTEN_PID": "7"}, 1),
        ({"LISTEN_FDS": "1", "LISTEN_PID": "8"}, 0),  # another process's, inherited by accident
        ({"LISTEN_FDS": "-1", "LISTEN_PID": "7"}, 0),
    ],
)
def test_sockets_are_counted_for_the_process_they_are_meant_for(environ, count):
    assert passed_count(environ, 7) == count


def test_what_is_no_number_is_refused():
    with pytest.raises(ConfigError, match="LISTEN_FDS"):
        passed_count({"LISTEN_FDS": "x", "LISTEN_PID": "7"}, 7)


def test_only_a_listening_tcp_socket_is_taken(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        taken = socket_of(os.dup(listening.fileno()))
        assert taken.getsockname() == listening.getsockname()
        assert not taken.get_inheritable()
        taken.close()
    with socket.socket() as idle, pytest.raises(ConfigError, match="no listening TCP socket"):
        socket_of(os.dup(idle.fileno()))
    with (tmp_path / "file").open("wb") as file, pytest.raises(ConfigError, match="no socket"):
        socket_of(os.dup(file.fileno()))


@pytest.mark.parametrize("abstract", [False, True])
def test_the_manager_is_told_in_one_datagram(tmp_path, abstract):
    name = f"edgeward-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}" if abstract else name)
        manager.settimeout(5)
        notify("READY=1", "STATUS=well", environ={"NOTIFY_SOCKET": f"@{name}" if abstract else name})
        assert manager.recv(100) == b"READY=1\nSTATUS=well"


def test_a_manager_that_is_away_does_no_harm(tmp_path):
    notify("READY=1", environ={"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    notify("READY=1", environ={})


def test_a_manager_that_does_not_read_stops_nobody(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        began_s = time.monotonic()
        for _ in range(300):  # more than its queue holds
            notify("WATCHDOG=1" * 1000, environ={"NOTIFY_SOCKET": str(tmp_path / "notify")})
            if time.monotonic() - began_s > 0.1:
                break
        else:
            pytest.fail("the queue never filled up")
        assert time.monotonic() - began_s < 5


def test_signs_of_life_come_three_times_in_the_limit():
    assert watchdog({"WATCHDOG_USEC": "30000000"}).pause_s == pytest.approx(10)
    assert watchdog({}) is None
    assert watchdog({"WATCHDOG_USEC": "soon"}) is None
