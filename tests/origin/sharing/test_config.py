"""Settings of sharing: what cannot work is refused at the start, and no message shows a password."""

import pytest

from origin.sharing.config import SharingConfig, shown
from origin.sharing.over_nats import NatsBus
from registry.errors import ConfigError
from registry.settings import load_settings


def test_servers_come_as_a_list_or_separated_by_commas():
    environ = {"EDGEWARD_SHARING_SERVERS": "nats://a:4222, tls://b:4222", "EDGEWARD_SHARING_FLEET": "prod"}
    config = load_settings(SharingConfig, "sharing", environ=environ)
    assert (config.servers, config.fleet) == (("nats://a:4222", "tls://b:4222"), "prod")
    assert SharingConfig().servers == ()


@pytest.mark.parametrize(
    "wrong",
    [
        {"servers": ("http://a",)}, {"servers": ("a:4222",)}, {"servers": ("nats://a:port",)},
        {"servers": ("nats://",)}, {"fleet": ""}, {"fleet": "a.b"}, {"fleet": "a b"}, {"fleet": "x" * 33},
        {"replicas_count": 0}, {"replicas_count": 6},
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused(wrong):
    with pytest.raises(ConfigError, match="sharing"):
        SharingConfig(**wrong)


@pytest.mark.parametrize("key", ["creds", "tls_ca"])
def test_a_missing_file_is_named(tmp_path, key):
    with pytest.raises(ConfigError, match="no such file"):
        SharingConfig(**{key: tmp_path / "none"})


def test_a_file_without_certificates_is_refused(tmp_path):
    (tmp_path / "ca.pem").write_text("nothing")
    config = SharingConfig(servers=("tls://a:4222",), tls_ca=tmp_path / "ca.pem")
    with pytest.raises(ConfigError, match="holds no certificates"):
        NatsBus(config, forget_after_s=60, jitter=lambda: 0.5)


def test_a_password_is_not_shown():
    assert shown("nats://user:secret@host:4222") == "nats://host:4222"
    with pytest.raises(ConfigError) as caught:
        SharingConfig(servers=("ftp://user:secret@host",))
    assert "secret" not in str(caught.value)
    bus = NatsBus(
        SharingConfig(servers=("nats://user:secret@host:4222",)), forget_after_s=60, jitter=lambda: 0.5
    )
    assert "secret" not in bus._servers
