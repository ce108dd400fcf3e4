"""The certificate for clients out of AWS's Parameter Store, read by this instance's role, put where the node looks.

Nothing of AWS's tools is needed on the machine. The parameters are SecureStrings, so the key is in no user data and in
no Terraform state.
"""

from __future__ import annotations

import grp
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
from msgspec import Struct

from deploy.machine.failing import MachineUnfitError
from deploy.machine.layout import USER
from edge_node.enrolment.aws_signing import amazon_time, signature
from origin.api_aws import credential_scope
from registry.durable import make_folders, write_durably
from registry.errors import ConfigError, InputInvalidError
from registry.tls import TlsFiles
from registry.wire import from_json, to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.machine.layout import Layout
    from edge_node.enrolment.aws_instance import Instance

_PATIENCE = aiohttp.ClientTimeout(total=20.0)
_ANSWER_LIMIT_BYTES = 256 * 1024


class _Parameter(Struct, rename="pascal"):
    name: str
    value: str


class _Answer(Struct, rename="pascal"):
    parameters: list[_Parameter]


async def read_parameters(
    instance: Instance, names: Sequence[str], *, region: str, url: str = "", now_unix_s: float
) -> list[str]:
    """What these parameters hold, decrypted.

    Args:
        instance: whose role may read them.
        names: of parameters in its account.
        region: where they are.
        url: an endpoint in place of the region's own.
        now_unix_s: the wall clock.

    Raises:
        MachineUnfitError: they cannot be read; the message has AWS's word for why.
    """
    host = f"ssm.{region}.amazonaws.com" + (".cn" if region.startswith("cn-") else "")
    body = to_json({"Names": list(dict.fromkeys(names)), "WithDecryption": True})
    signed_at = amazon_time(now_unix_s)
    headers = {
        "content-type": "application/x-amz-json-1.1",
        "host": host,
        "x-amz-date": signed_at,
        "x-amz-security-token": instance.credentials.session_token,
        "x-amz-target": "AmazonSSM.GetParameters",
    }
    headers = {name: text for name, text in headers.items() if text}
    scope = credential_scope(region, "ssm", signed_at)
    made = signature(instance.credentials.secret_key, scope, headers, body)
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={instance.credentials.access_key_id}/{scope}, "
        f"SignedHeaders={';'.join(headers)}, Signature={made}"
    )
    answer = await _ask(url or f"https://{host}", headers, body)
    found = {parameter.name: parameter.value for parameter in answer.parameters}
    missing = [name for name in names if name not in found]
    if missing:
        raise MachineUnfitError(f"there is no parameter {', '.join(missing)} in {region}")
    return [found[name] for name in names]


async def _ask(url: str, headers: dict[str, str], body: bytes) -> _Answer:
    try:
        async with (
            aiohttp.ClientSession(timeout=_PATIENCE) as http,
            http.post(f"{url}/", data=body, headers=headers, allow_redirects=False) as reply,
        ):
            said = await reply.content.read(_ANSWER_LIMIT_BYTES)
            if reply.status != 200:
                raise MachineUnfitError(
                    f"the Parameter Store answers {reply.status}: {said[:300].decode('utf-8', 'replace')}"
                )
            return from_json(said, _Answer)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise MachineUnfitError(f"{url} cannot be reached: {error or type(error).__name__}") from error
    except InputInvalidError as error:
        raise MachineUnfitError(f"what answers at {url} is no Parameter Store: {error.message}") from error


def put_certificate(layout: Layout, certificate: str, key: str) -> bool:
    """Put a certificate and its key where the node's settings say; returns whether they are others than before.

    Only the service's group may read the key. A running node reads both again by itself.

    Raises:
        MachineUnfitError: they do not belong together; those in place stay.
    """
    _check_pair(certificate, key)
    group_id = _group_id()
    place = layout.tls
    make_folders(place)
    place.chmod(0o755)  # here and below: whatever the umask says, the service's user reads it
    wanted = {place / "key.pem": (key, 0o640), place / "certificate.pem": (certificate, 0o644)}
    if all(path.exists() and path.read_text("utf-8") == text for path, (text, _) in wanted.items()):
        return False
    for path, (text, mode) in wanted.items():
        write_durably(path, text.encode(), mode=mode)
        os.chown(path, os.geteuid(), group_id)
        path.chmod(mode)
    return True


def _check_pair(certificate: str, key: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:  # of mode 0700
        files = [Path(scratch, name) for name in ("certificate.pem", "key.pem")]
        for file, text in zip(files, (certificate, key), strict=True):
            file.write_text(text, "utf-8")
        try:
            TlsFiles("node", *files)
        except ConfigError as error:
            raise MachineUnfitError(f"the certificate and the key cannot be used: {error.message}") from error


def _group_id() -> int:
    try:
        return grp.getgrnam(USER).gr_gid
    except KeyError as error:
        raise MachineUnfitError(f"there is no group {USER}: run `edgeward node install` first") from error
