"""An instance joins by its role, with moto's STS saying who it is: a second opinion on how STS answers."""

import json
import time
from types import SimpleNamespace

import boto3
import pytest

from edge_node.enrolment.joining import join
from origin.errors import ProofRefusedError
from origin.identity.aws_desk import AwsDesk
from origin.identity.sts import Sts
from tests.aws_stand_in import INSTANCE, StandInMetadata
from tests.fleet_origin import FleetOrigin
from tests.terraform import parts, stand_in

pytestmark = pytest.mark.terraform

TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }
)


@pytest.fixture(scope="module")
def aws():
    """moto's server."""
    try:
        with stand_in.moto(parts.environment("tools", parts.TOOLS)) as url:
            yield url
    except parts.PartMissingError as error:
        pytest.skip(str(error))


def client(url, service):
    return boto3.client(
        service,
        region_name="eu-central-1",
        endpoint_url=url,
        aws_access_key_id="none",
        aws_secret_access_key="none",
    )


def credentials_of(url, role):
    """What EC2 hands to an instance of a role, and the role's ARN."""
    arn = client(url, "iam").create_role(RoleName=role, AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]
    given = client(url, "sts").assume_role(RoleArn=arn, RoleSessionName=INSTANCE)["Credentials"]
    return arn, SimpleNamespace(
        access=given["AccessKeyId"], secret=given["SecretAccessKey"], token=given["SessionToken"]
    )


async def joined(tmp_path, monkeypatch, url, admitted, keys):
    made = FleetOrigin(tmp_path / "keys", tmp_path / "origin", aws=AwsDesk([admitted], Sts(url)))
    async with StandInMetadata(keys=keys).running() as metadata, made.running() as origin:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.url)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
            monkeypatch.delenv(name, raising=False)
        way = f"aws-iam.{origin.enrolment.door.authority.pin}"
        return await join(tmp_path / "node", way, [origin.door_url], "x", now_unix_s=time.time())


async def test_an_instance_of_the_role_is_let_in_and_one_of_another_is_not(aws, tmp_path, monkeypatch):
    node, keys = credentials_of(aws, "edgeward-node")
    other, _ = credentials_of(aws, "other")
    assert (await joined(tmp_path / "a", monkeypatch, aws, node, keys)).node_id == INSTANCE
    with pytest.raises(ProofRefusedError, match="edgeward-node"):
        await joined(tmp_path / "b", monkeypatch, aws, other, keys)
