from __future__ import annotations

import pytest

from edge_node.identity import take_identity
from registry.errors import ConfigError


def test_an_id_is_made_once_and_kept(tmp_path):
    first = take_identity(tmp_path, node_id="", fresh_id="node-1", now_unix_s=100)
    again = take_identity(tmp_path, node_id="", fresh_id="node-2", now_unix_s=200)
    assert (first.node_id, again.node_id) == ("node-1", "node-1")


def test_a_configured_id_wins_and_does_not_replace_the_kept_one(tmp_path):
    take_identity(tmp_path, node_id="", fresh_id="node-1", now_unix_s=100)
    assert take_identity(tmp_path, node_id="paris", fresh_id="x", now_unix_s=200).node_id == "paris"
    assert take_identity(tmp_path, node_id="", fresh_id="x", now_unix_s=300).node_id == "node-1"


def test_the_incarnation_grows_even_when_the_clock_goes_back(tmp_path):
    numbers = [
        take_identity(tmp_path, node_id="a", fresh_id="x", now_unix_s=now_s).incarnation
        for now_s in (500, 500, 20, 900)
    ]
    assert numbers == [500, 501, 502, 900]


def test_a_damaged_incarnation_starts_from_the_clock(tmp_path):
    (tmp_path / "node.incarnation").write_bytes(b"\xff\x00")
    assert take_identity(tmp_path, node_id="a", fresh_id="x", now_unix_s=500).incarnation == 500


def test_on_a_full_disk_the_clock_alone_counts(tmp_path):
    (tmp_path / ".node.incarnation.new").symlink_to("/dev/full")
    for now_s in (500, 600):
        assert take_identity(tmp_path, node_id="a", fresh_id="x", now_unix_s=now_s).incarnation == now_s


def test_a_damaged_id_is_said_not_replaced(tmp_path):
    (tmp_path / "node.id").write_bytes(b"../evil\n")
    with pytest.raises(ConfigError, match=r"node\.id"):
        take_identity(tmp_path, node_id="", fresh_id="x", now_unix_s=1)
