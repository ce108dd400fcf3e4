"""Install, go back, remove, below a root of its own: no systemd runs there."""

from __future__ import annotations

import os
import stat
import tomllib

import pytest

from deploy.machine.installing import Wishes, install
from deploy.machine.layout import NODE, SOCKET, Layout
from deploy.machine.removing import uninstall
from edge_node.config import NodeConfig
from registry.settings import load_settings


@pytest.fixture
def layout(tmp_path):
    layout = Layout(tmp_path / "root")
    for version in ("1", "2"):
        (layout.releases / version / "share").mkdir(parents=True)
        (layout.releases / version / "share" / "root.json").write_text(version)
    return layout


def _install(layout, version, **wishes):
    said = []
    install(layout, Wishes(release=layout.releases / version, **wishes), lambda: None, said.append)
    return said


def test_an_installation_puts_all_in_place(layout):
    assert "systemd does not run here: nothing was started" in _install(
        layout, "1", origin="https://o.example:7743", token="ejt1.a.b.c"
    )
    assert layout.current.resolve().name == "1"
    assert stat.S_IMODE(layout.token.stat().st_mode) == 0o600
    assert stat.S_IMODE(layout.command.stat().st_mode) == 0o755
    assert load_settings(NodeConfig, "node", file=layout.settings, environ={}).origin == (
        "https://o.example:7743",
    )
    assert "ListenStream=127.0.0.1:7710" in (layout.drop_ins / f"{SOCKET}.d/10-settings.conf").read_text()
    assert (layout.state / "node" / "root.json").read_text() == "1"
    assert (layout.units / NODE).is_file()


def test_a_second_one_keeps_what_is_the_admins(layout):
    _install(layout, "1", token="ejt1.a.b.c")
    layout.settings.write_text('[node]\nhost = "::1"\nport = 7999\n')
    _install(layout, "2")
    assert layout.current.resolve().name == "2"
    assert layout.before.resolve().name == "1"
    assert layout.token.read_text().strip() == "ejt1.a.b.c"
    assert tomllib.loads(layout.settings.read_text())["node"]["port"] == 7999
    assert "ListenStream=[::1]:7999" in (layout.drop_ins / f"{SOCKET}.d/10-settings.conf").read_text()
    assert (layout.state / "node" / "root.json").read_text() == "1"  # a root that is trusted is not replaced


@pytest.mark.parametrize("purge", [False, True])
def test_removing_leaves_what_it_says(layout, purge):
    _install(layout, "1", gpu=True)
    kept = uninstall(layout, purge=purge)
    left = {str(path.relative_to(layout.root)) for path in layout.root.rglob("*") if path.is_file()}
    if purge:
        assert kept == []
        assert left == set()
    else:
        assert kept == [layout.settings.parent, layout.state]
        assert left == {
            "etc/edgeward/edgeward.toml",
            "etc/edgeward/join-token",
            "var/lib/edgeward/node/root.json",
        }
    assert uninstall(layout, purge=purge) == kept  # again


def test_a_careful_umask_of_roots_shell_keeps_the_service_out_of_nothing(layout):
    before = os.umask(0o077)
    try:
        _install(layout, "1", origin="https://o.example:7743", token="ejt1.a.b.c")
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(before)
    assert stat.S_IMODE(layout.command.stat().st_mode) == 0o755
    assert stat.S_IMODE(layout.token.stat().st_mode) == 0o600
    others = [layout.settings, layout.settings.parent, layout.units / NODE, layout.drop_ins / f"{SOCKET}.d"]
    assert [path for path in others if not path.stat().st_mode & stat.S_IROTH] == []
