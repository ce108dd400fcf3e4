"""Applied on a stand-in for AWS: the fleet by the real provider 3.39, the bucket by the calls that it stands for."""

import base64

import boto3
import pytest

from tests.terraform import parts, stand_in
from tests.terraform.workspace import Workspace

pytestmark = pytest.mark.terraform

APPLY = ("apply", "-auto-approve", "-input=false", "-no-color")
DESTROY = ("destroy", "-auto-approve", "-input=false", "-no-color")


@pytest.fixture(scope="module")
def aws():
    """moto's server."""
    try:
        with stand_in.moto(parts.environment("tools", parts.TOOLS)) as url:
            yield url
    except parts.PartMissingError as error:
        pytest.skip(str(error))


def asking(url, service, region="us-east-1"):
    """A client of the stand-in."""
    return boto3.client(
        service, region_name=region, endpoint_url=url, aws_access_key_id="none", aws_secret_access_key="none"
    )


def test_a_fleet_in_three_regions(providers, aws, tmp_path):
    """Made, looked at, planned again, ended: by the provider itself, of the one version that can be had offline."""
    images = {
        region: asking(aws, "ec2", region).describe_images()["Images"][0]["ImageId"]
        for region in stand_in.REGIONS
    }
    stand_in.old_modules(tmp_path, images)
    (tmp_path / "providers.tf").write_text(stand_in.providers_text(aws))
    fleet = Workspace(tmp_path, providers.old)
    fleet.init()
    fleet.must(*APPLY, timeout_s=600)
    for region, (lat, lon, label) in stand_in.REGIONS.items():
        looks_as_it_should(aws, region, f'place = "{lat},{lon}"', label)
    records = asking(aws, "route53").list_resource_record_sets(HostedZoneId=zone_id(aws))[
        "ResourceRecordSets"
    ]
    assert {record["Region"] for record in records if "Region" in record} == set(stand_in.REGIONS)
    assert changes(fleet.plan()) == []
    fleet.must(*DESTROY, timeout_s=600)
    assert fleet.must("state", "list") == ""
    assert [
        region
        for region in stand_in.REGIONS
        if asking(aws, "autoscaling", region).describe_auto_scaling_groups()["AutoScalingGroups"]
    ] == []


def looks_as_it_should(url, region, place, label):
    """What a region must have, asked of the cloud and not of Terraform."""
    [group] = asking(url, "autoscaling", region).describe_auto_scaling_groups()["AutoScalingGroups"]
    assert (group["MinSize"], group["DesiredCapacity"], group["MaxSize"]) == (1, 2, 4)
    assert len(group["Instances"]) == 2
    ec2 = asking(url, "ec2", region)
    [template] = ec2.describe_launch_templates()["LaunchTemplates"]
    [version] = ec2.describe_launch_template_versions(LaunchTemplateId=template["LaunchTemplateId"])[
        "LaunchTemplateVersions"
    ]
    data = version["LaunchTemplateData"]
    assert data["MetadataOptions"]["HttpTokens"] == "required"
    assert data["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True
    assert place in user_data(data)
    assert label in user_data(data)
    groups = ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": ["edgeward-node"]}])[
        "SecurityGroups"
    ]
    assert [(rule["FromPort"], rule["ToPort"]) for rule in groups[0]["IpPermissions"]] == [(443, 443)]
    balancers = asking(url, "elbv2", region).describe_load_balancers()["LoadBalancers"]
    assert [balancer["Type"] for balancer in balancers] == ["network"]
    assert asking(url, "cloudwatch", region).describe_alarms()["MetricAlarms"]


def user_data(data):
    """The script of the first boot."""

    return base64.b64decode(data["UserData"]).decode()


def zone_id(url):
    """The one hosted zone."""
    [zone] = asking(url, "route53").list_hosted_zones()["HostedZones"]
    return zone["Id"]


def changes(plan):
    """What a second plan would change, without what the stand-in itself forgets: a subnet's IPv6 network."""
    found = []
    for change in plan["resource_changes"]:
        if change["change"]["actions"] == ["no-op"] or change["mode"] == "data":
            continue
        before, after = change["change"]["before"], change["change"]["after"]
        differing = {name for name in after if before is None or before.get(name) != after[name]}
        if change["type"] != "aws_subnet" or differing != {"ipv6_cidr_block"}:
            found.append((change["address"], sorted(differing)))
    return found


def test_the_bucket_as_shipped(shipped, aws):
    """The module itself, unchanged, by the calls that its resources stand for."""
    part = "modules/artifact-store"
    shipped.init(part)
    shipped.must(
        *APPLY, "-var=bucket=releases", "-var=region=eu-central-1", at=part, EDGEWARD_AWS_ENDPOINT=aws
    )
    s3 = asking(aws, "s3", "eu-central-1")
    assert s3.get_bucket_location(Bucket="releases")["LocationConstraint"] == "eu-central-1"
    assert s3.get_bucket_versioning(Bucket="releases")["Status"] == "Enabled"
    assert all(s3.get_public_access_block(Bucket="releases")["PublicAccessBlockConfiguration"].values())
    [rule] = s3.get_bucket_encryption(Bucket="releases")["ServerSideEncryptionConfiguration"]["Rules"]
    used = rule["ApplyServerSideEncryptionByDefault"]
    assert used["SSEAlgorithm"] == "aws:kms"
    kms = asking(aws, "kms", "eu-central-1")
    assert kms.get_key_rotation_status(KeyId=used["KMSMasterKeyID"])["KeyRotationEnabled"]
    rules = s3.get_bucket_lifecycle_configuration(Bucket="releases")["Rules"]
    assert {rule["ID"] for rule in rules} == {"end-cut-off-uploads", "end-replaced-versions"}
    again = shipped.run(
        "plan", "-detailed-exitcode", "-no-color", "-var=bucket=releases", "-var=region=eu-central-1", at=part,
        EDGEWARD_AWS_ENDPOINT=aws,
    )  # fmt: skip
    assert again.returncode == 0, again.stdout
    shipped.must(
        *DESTROY, "-var=bucket=releases", "-var=region=eu-central-1", at=part, EDGEWARD_AWS_ENDPOINT=aws
    )
    assert s3.list_buckets()["Buckets"] == []
