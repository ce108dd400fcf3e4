from __future__ import annotations

from pathlib import Path

import pytest

from edge_node.config import NodeConfig, stated_place
from origin.api import Place
from registry.errors import ConfigError
from registry.settings import load_settings


def test_a_node_needs_no_settings():
    config = NodeConfig()
    assert config.host == "127.0.0.1"
    assert config.follows == ("*",)
    assert config.data_dir.is_absolute()


def test_settings_come_from_a_file_and_the_environment(tmp_path):
    file = tmp_path / "edgeward.toml"
    file.write_text('[node]\nplace = "50.11,8.68"\ndrain_s = "1 min"\nfollows = ["chat", "team/*"]\n')
    environ = {
        "EDGEWARD_NODE_DATA_DIR": "/srv/node",
        "EDGEWARD_NODE_PORT": "0",
        "EDGEWARD_NODE_CHANNEL": "canary",
    }
    config = load_settings(NodeConfig, "node", file=file, environ=environ)
    assert config.drain_s == 60
    assert config.follows == ("chat", "team/*")
    assert (config.data_dir, config.port, config.channel) == (Path("/srv/node"), 0, "canary")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_permission(host):
    assert NodeConfig(host=host).host == host


@pytest.mark.parametrize("host", ["192.0.2.7", "example.org", "2001:db8::1", "0.0.0.0", ""])
def test_a_host_that_others_reach_must_be_said_to_be_insecure(host):
    with pytest.raises(ConfigError, match="insecure"):
        NodeConfig(host=host)
    assert NodeConfig(host=host, insecure=True, public_url="http://192.0.2.7:80").insecure


def test_listening_everywhere_needs_the_url_that_clients_use():
    with pytest.raises(ConfigError, match="public_url"):
        NodeConfig(host="0.0.0.0", insecure=True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"node_id": "../x"}, {"node_id": "a" * 64}, {"node_id": "node\n"}, {"port": -1}, {"port": 65536},
        {"origin": ()},
        {"origin": ("127.0.0.1:7700",)}, {"origin": ("http://x", "ftp://x")}, {"origin": ("http://x:port",)},
        {"public_url": "x"},
        {"channel": "../stable"}, {"threads_count": 0}, {"drain_s": float("nan")}, {"drain_s": float("inf")},
        {"queue_limit_count": -1}, {"place": "north"},
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_by_name(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        NodeConfig(**wrong)


def test_a_place_is_latitude_and_longitude():
    assert stated_place(" 50.11, 8.68 ") == Place(50.11, 8.68)
    assert stated_place("-90,180") == Place(-90, 180)
    assert stated_place("  ") is None


@pytest.mark.parametrize(
    "text", ["50.11", "50.11;8.68", "91,0", "0,181", "nan,0", "inf,0", "1,2,3", "N50,E8"]
)
def test_a_place_off_the_earth_is_refused_with_an_example(text):
    with pytest.raises(ConfigError, match=r"node\.place.*48\.86,2\.35"):
        stated_place(text)


def test_shares_of_gpus_are_read_from_the_environment():
    environ = {"EDGEWARD_NODE_GPU_SPLIT": "3, 1.5", "EDGEWARD_NODE_GPU_LAYERS_COUNT": "-1"}
    config = load_settings(NodeConfig, "node", environ=environ)
    assert config.gpu_split == (3.0, 1.5)
    assert config.gpu_layers_count == -1
    with pytest.raises(ConfigError, match="kv_type"):
        load_settings(NodeConfig, "node", environ={"EDGEWARD_NODE_KV_TYPE": "q2_k"})
