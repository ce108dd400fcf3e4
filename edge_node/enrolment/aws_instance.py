"""What an instance on AWS knows of itself: its credentials, its region, its id; from the environment or IMDSv2.

The variables are those of the AWS command line. The metadata service is asked with a token (IMDSv2) alone, so this
works where version 1 is off, and a request that somebody makes us forward cannot read anything.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
from msgspec import Struct

from edge_node.enrolment.aws_signing import AwsCredentials
from edge_node.errors import InstanceUnknownError
from registry.errors import InputInvalidError
from registry.wire import from_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

_SERVICE = "http://169.254.169.254"
_PATIENCE = aiohttp.ClientTimeout(total=5.0, sock_connect=2.0)
_ANSWER_LIMIT_BYTES = 64 * 1024
_WORD = re.compile(r"[\w+=,.@-]{1,128}", re.ASCII)


class _Credentials(Struct, rename="pascal"):
    access_key_id: str
    secret_access_key: str
    token: str


@dataclass(frozen=True, slots=True)
class Instance:
    """Who we are to AWS; `instance_id` is "" where the environment gave the credentials."""

    credentials: AwsCredentials
    region: str
    instance_id: str = ""


async def this_instance(environ: Mapping[str, str] = os.environ) -> Instance:
    """Who we are.

    `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` and `AWS_REGION` (or `AWS_DEFAULT_REGION`) go
    before the metadata service, which `AWS_EC2_METADATA_SERVICE_ENDPOINT` moves and `AWS_EC2_METADATA_DISABLED` bars.

    Raises:
        InstanceUnknownError: neither says it.
    """
    region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or ""
    if environ.get("AWS_ACCESS_KEY_ID") and environ.get("AWS_SECRET_ACCESS_KEY"):
        if not region:
            raise InstanceUnknownError(
                "the environment has credentials of AWS and no AWS_REGION: say it, too"
            )
        return Instance(
            AwsCredentials(
                environ["AWS_ACCESS_KEY_ID"],
                environ["AWS_SECRET_ACCESS_KEY"],
                environ.get("AWS_SESSION_TOKEN", ""),
            ),
            region,
        )
    if environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        raise InstanceUnknownError(
            "AWS_EC2_METADATA_DISABLED bars the metadata service, and the environment has no credentials of AWS"
        )
    async with _Metadata(environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or _SERVICE) as metadata:
        return await _from_metadata(metadata, region)


async def _from_metadata(metadata: _Metadata, region: str) -> Instance:
    instance_id = _word(await metadata.read("instance-id"))
    region = region or _word(await metadata.read("placement/region"))
    roles = (await metadata.read("iam/security-credentials/")).split()
    if not roles:
        raise InstanceUnknownError("this instance runs under no role: give it an instance profile")
    answer = await metadata.read(f"iam/security-credentials/{_word(roles[0])}")
    try:
        found = from_json(answer.encode(), _Credentials)
    except InputInvalidError as error:
        raise InstanceUnknownError(
            f"the metadata service gives no credentials for the role {roles[0]}"
        ) from error
    return Instance(
        AwsCredentials(found.access_key_id, found.secret_access_key, found.token), region, instance_id
    )


class _Metadata:
    """The metadata service of an instance, version 2."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._shown: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(timeout=_PATIENCE)
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self._http.close()

    async def read(self, path: str) -> str:
        """What it says under a path of `/latest/meta-data`. Raises InstanceUnknownError."""
        if not self._shown:
            token = await self._ask(
                "PUT", "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
            )
            self._shown = {"X-aws-ec2-metadata-token": token}
        return await self._ask("GET", f"/latest/meta-data/{path}", self._shown)

    async def _ask(self, method: str, path: str, headers: Mapping[str, str]) -> str:
        try:
            async with self._http.request(
                method, self._url + path, headers=headers, allow_redirects=False
            ) as reply:
                if reply.status != 200:
                    raise InstanceUnknownError(
                        f"the metadata service of this instance answers {reply.status} to {path}"
                    )
                answer = await reply.content.read(_ANSWER_LIMIT_BYTES)
                return answer.decode("ascii", "replace").strip()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise InstanceUnknownError(
                f"no metadata service answers at {self._url} ({type(error).__name__}): is this an instance of EC2? "
                "In a container it can be out of reach (hop limit 1)"
            ) from error


def _word(text: str) -> str:
    if not _WORD.fullmatch(text):
        raise InstanceUnknownError(f"the metadata service says {text[:80]!r}, which cannot be")
    return text
