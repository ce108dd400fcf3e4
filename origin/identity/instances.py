"""Which instances on AWS a fleet lets in: roles out of the settings, against the caller that STS names; pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from origin.errors import ProofRefusedError
from registry.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROLE = re.compile(
    r"arn:(?P<partition>aws[a-z-]*):iam::(?P<account>[0-9]{12}):role/(?:[!-~]+/)?(?P<name>[\w+=,.@-]{1,64})", re.ASCII
)  # fmt: skip
_CALLER = re.compile(
    r"arn:(?P<partition>aws[a-z-]*):sts::(?P<account>[0-9]{12}):assumed-role/(?P<name>[\w+=,.@-]{1,64})/"
    r"(?P<session>[\w+=,.@-]{2,64})",
    re.ASCII,
)
_INSTANCE_ID = re.compile(r"i-(?:[0-9a-f]{17}|[0-9a-f]{8})")


@dataclass(frozen=True, slots=True)
class Role:
    """A role; its path is no part of it, since STS does not tell it, and names are unique in an account without it."""

    partition: str
    account: str
    name: str


def admitted_roles(arns: Sequence[str]) -> frozenset[Role]:
    """The roles that settings name.

    Raises:
        ConfigError: one is not the ARN of a role.
    """
    roles = set()
    for arn in arns:
        match = _ROLE.fullmatch(arn)
        if match is None:
            raise ConfigError(
                f"origin.admitted_aws_roles: {arn[:120]!r} is not the ARN of a role, such as "
                "arn:aws:iam::123456789012:role/edgeward-node (whole: there are no patterns)"
            )
        roles.add(Role(match["partition"], match["account"], match["name"]))
    return frozenset(roles)


def instance_of(caller_arn: str, admitted: frozenset[Role]) -> str:
    """The id of the instance that runs under an admitted role, which EC2 makes the name of the role's session.

    Raises:
        ProofRefusedError: the caller has no such role, or is no instance.
    """
    match = _CALLER.fullmatch(caller_arn)
    if match is None or Role(match["partition"], match["account"], match["name"]) not in admitted:
        raise ProofRefusedError(
            f"{caller_arn[:200]} is not let in here: origin.admitted_aws_roles names the roles that are"
        )
    if not _INSTANCE_ID.fullmatch(match["session"]):
        raise ProofRefusedError(
            f"{caller_arn[:200]} has an admitted role and is no instance of EC2, whose session has the instance's id"
        )
    return match["session"]


def check_is(instance_id: str, node_id: str) -> None:
    """Refuse an instance under another name than its own. Raises ProofRefusedError."""
    if instance_id != node_id:
        raise ProofRefusedError(
            f"the proof is of {instance_id}, and {node_id} was asked for: a node that joins by its role is called as "
            "its instance, so leave node.node_id out",
        )
