"""What an instance knows of itself: the environment, then IMDSv2; and what else may answer there."""

import pytest
from aiohttp import web

from edge_node.enrolment.aws_instance import this_instance
from edge_node.errors import InstanceUnknownError
from tests.aws_stand_in import INSTANCE, KEYS, StandInMetadata, serving


@pytest.fixture
async def metadata():
    async with StandInMetadata().running() as running:
        yield running


def at(url, **more):
    return {"AWS_EC2_METADATA_SERVICE_ENDPOINT": url} | more


async def test_the_metadata_service_says_all(metadata):
    found = await this_instance(at(metadata.url + "/"))
    assert (found.region, found.instance_id) == ("eu-central-1", INSTANCE)
    assert (found.credentials.access_key_id, found.credentials.secret_key) == (KEYS.access, KEYS.secret)
    assert found.credentials.session_token == KEYS.token


async def test_the_environment_goes_first(metadata):
    said = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "s", "AWS_DEFAULT_REGION": "eu-west-1"}
    found = await this_instance(at(metadata.url, **said))
    assert (found.credentials.access_key_id, found.region, found.instance_id) == ("AKIA", "eu-west-1", "")
    assert (await this_instance(at(metadata.url, AWS_REGION="us-east-1"))).region == "us-east-1"


async def test_credentials_without_a_region_and_a_service_that_is_barred(metadata):
    with pytest.raises(InstanceUnknownError, match="AWS_REGION"):
        await this_instance({"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "s"})
    with pytest.raises(InstanceUnknownError, match="bars"):
        await this_instance(at(metadata.url, AWS_EC2_METADATA_DISABLED="true"))


async def test_a_machine_that_is_no_instance(unused_tcp_port):
    with pytest.raises(InstanceUnknownError, match="is this an instance of EC2"):
        await this_instance(at(f"http://127.0.0.1:{unused_tcp_port}"))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("iam/security-credentials/", ""), ("iam/security-credentials/", "../../latest/user-data"),
        ("iam/security-credentials/edgeward-node", "<html/>"), ("iam/security-credentials/edgeward-node", "{}"),
        ("instance-id", "a b"), ("placement/region", ""), ("placement/region", "x" * 200), ("instance-id", None),
    ],
)  # fmt: skip
async def test_a_service_that_says_something_odd(metadata, path, text):
    metadata.says[path] = text
    with pytest.raises(InstanceUnknownError):
        await this_instance(at(metadata.url))


async def test_a_service_that_leads_elsewhere_is_not_followed():
    async def away(request):
        raise web.HTTPFound("http://127.0.0.1:1/")

    async with serving([web.route("*", "/{path:.*}", away)]) as url:
        with pytest.raises(InstanceUnknownError, match="302"):
            await this_instance(at(url))
