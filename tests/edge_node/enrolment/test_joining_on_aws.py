"""A node on AWS joins by its role: from the instance's metadata to a certificate, over real TLS."""

import time

import pytest

from edge_node.config import NodeConfig
from edge_node.enrolment.joining import enrolled, join
from edge_node.enrolment.membership import load_membership
from edge_node.errors import InstanceUnknownError, WrongPinError
from origin.errors import ProofRefusedError
from origin.identity.aws_desk import AwsDesk
from origin.identity.sts import Sts
from registry.errors import ConfigError, InputInvalidError
from tests.aws_stand_in import INSTANCE, ROLE, StandInMetadata, StandInSts
from tests.fleet_origin import FleetOrigin


@pytest.fixture
async def metadata(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION",
                 "AWS_EC2_METADATA_DISABLED"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    async with StandInMetadata().running() as running:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", running.url)
        yield running


@pytest.fixture
async def origin(tmp_path, wall_clock, metadata):
    async with StandInSts(wall_clock).running() as sts:
        desk = AwsDesk([ROLE], Sts(sts.url))
        made = FleetOrigin(tmp_path / "keys", tmp_path / "origin", clock=wall_clock, aws=desk)
        async with made.running() as running:
            running.sts = sts
            yield running


def way_in(origin):
    return f"aws-iam.{origin.enrolment.door.authority.pin}"


async def test_an_instance_joins_under_its_own_name(origin, tmp_path):
    made = await join(tmp_path / "n", way_in(origin), [origin.door_url], "other", now_unix_s=time.time())
    assert (made.node_id, made.fleet) == (INSTANCE, "fleet-test")
    assert load_membership(tmp_path / "n") == made


async def test_a_starting_node_joins_by_its_settings_and_keeps_what_it_got(origin, tmp_path):
    file = tmp_path / "join-token"
    file.write_text(way_in(origin) + "\n")
    config = NodeConfig(data_dir=tmp_path / "n", join_token_file=file, origin=(origin.door_url,))
    made = await enrolled(config, fresh_id="host-1", now_unix_s=time.time)
    assert made.node_id == INSTANCE
    asked_count = len(origin.sts.heard)
    assert await enrolled(config, fresh_id="host-2", now_unix_s=time.time) == made
    assert len(origin.sts.heard) == asked_count


async def test_settings_that_give_the_instance_another_name(origin, tmp_path):
    config = NodeConfig(
        data_dir=tmp_path / "n", node_id="fra-1", join_token=way_in(origin), origin=(origin.door_url,)
    )
    with pytest.raises(ConfigError, match=INSTANCE):
        await enrolled(config, fresh_id="x", now_unix_s=time.time)


async def test_an_origin_that_the_pin_does_not_name_hears_no_proof(origin, tmp_path):
    with pytest.raises(WrongPinError):
        await join(tmp_path / "n", "aws-iam." + "A" * 43, [origin.door_url], "x", now_unix_s=time.time())
    assert origin.sts.heard == []


async def test_credentials_of_the_environment_need_the_instances_name_told(
    origin, tmp_path, monkeypatch, metadata
):
    from tests.aws_stand_in import KEYS

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS.access)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS.secret)
    monkeypatch.setenv("AWS_SESSION_TOKEN", KEYS.token)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    with pytest.raises(ProofRefusedError, match=INSTANCE):
        await join(tmp_path / "n", way_in(origin), [origin.door_url], "fra-1", now_unix_s=time.time())
    made = await join(tmp_path / "n", way_in(origin), [origin.door_url], INSTANCE, now_unix_s=time.time())
    assert made.node_id == INSTANCE


async def test_a_machine_that_is_no_instance_says_so(origin, tmp_path, monkeypatch, unused_tcp_port):
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{unused_tcp_port}")
    with pytest.raises(InstanceUnknownError):
        await join(tmp_path / "n", way_in(origin), [origin.door_url], "x", now_unix_s=time.time())


@pytest.mark.parametrize("text", ["aws-iam", "aws-iam.", "aws-iam.short", "aws-iam." + "A" * 44, "aws-iam:x"])
async def test_a_way_in_without_a_whole_pin(tmp_path, text):
    with pytest.raises(InputInvalidError, match="edgeward token pin"):
        await join(tmp_path / "n", text, ["https://127.0.0.1:1"], "x", now_unix_s=time.time())
