"""Which callers are instances under an admitted role: everything else is not."""

import pytest

from origin.errors import ProofRefusedError
from origin.identity.instances import admitted_roles, check_is, instance_of
from registry.errors import ConfigError
from tests.aws_stand_in import CALLER, INSTANCE, ROLE


def test_an_instance_under_an_admitted_role():
    assert instance_of(CALLER, admitted_roles([ROLE])) == INSTANCE
    # STS does not tell the path of a role.
    assert instance_of(CALLER, admitted_roles([ROLE.replace("role/", "role/eu/edge/")])) == INSTANCE
    assert instance_of(CALLER.replace(INSTANCE, "i-12345678"), admitted_roles([ROLE])) == "i-12345678"


@pytest.mark.parametrize(
    "caller",
    [
        CALLER.replace("123456789012", "210987654321"),
        CALLER.replace("edgeward-node", "edgeward-node2"),
        CALLER.replace("edgeward-node", "Edgeward-node"),
        CALLER.replace("arn:aws:", "arn:aws-cn:"),
        CALLER.replace("assumed-role", "federated-user"),
        CALLER + "/more",
        CALLER + "\n",
        "arn:aws:iam::123456789012:role/edgeward-node",
        "arn:aws:iam::123456789012:user/edgeward-node",
        "arn:aws:iam::123456789012:root",
        "arn:aws:sts::123456789012:assumed-role/edgeward-node",
        "",
        "x" * 10_000,
    ],
)
def test_callers_of_another_kind_account_or_role(caller):
    with pytest.raises(ProofRefusedError):
        instance_of(caller, admitted_roles([ROLE]))


@pytest.mark.parametrize(
    "session", ["botocore-session-1", "alice", "i-0123", "i-0123456789ABCDEF0", "xi-12345678"]
)
def test_people_and_functions_with_the_role_are_no_instances(session):
    with pytest.raises(ProofRefusedError, match="no instance"):
        instance_of(CALLER.replace(INSTANCE, session), admitted_roles([ROLE]))


def test_nobody_is_let_in_where_no_role_is_named():
    with pytest.raises(ProofRefusedError):
        instance_of(CALLER, admitted_roles([]))


def test_an_instance_has_its_own_name():
    check_is(INSTANCE, INSTANCE)
    with pytest.raises(ProofRefusedError, match="i-other"):
        check_is(INSTANCE, "i-other")


@pytest.mark.parametrize(
    "arn",
    ["*", "edgeward-node", ROLE.replace("edgeward-node", "*"), ROLE.replace("1", "x"), CALLER, ROLE + " ", ROLE + "\n",
     "arn:aws:iam::123456789012:user/edgeward-node", ""],
)  # fmt: skip
def test_settings_name_whole_roles(arn):
    with pytest.raises(ConfigError, match="admitted_aws_roles"):
        admitted_roles([arn])
