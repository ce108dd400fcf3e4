"""Asks AWS whose signature a proof carries: one request, built here alone, to an endpoint of Amazon's or our settings'.

Nothing of what a node sent says where the request goes or what it asks, redirects are not followed, and an answer
that is not STS's to that question is none.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import aiohttp

from origin.api_aws import BODY, authorization, sts_host
from origin.errors import ProofRefusedError, ProofUncheckedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from origin.api_aws import AwsProof

ANSWER_LIMIT_BYTES = 64 * 1024
PATIENCE_S = 5.0
_SPACE = "{https://sts.amazonaws.com/doc/2011-06-15/}"
_CODE = re.compile(rb"<Code>([A-Za-z.]{1,64})</Code>")
_BUSY = {b"Throttling", b"ThrottlingException", b"RequestLimitExceeded"}


class Sts:
    """The Security Token Service.

    Args:
        url: an endpoint in place of the regions' own, such as one of a VPC; "" for those.
        patience_s: how long it may take to answer.
    """

    def __init__(self, url: str = "", *, patience_s: float = PATIENCE_S) -> None:
        self._url = url.rstrip("/")
        self._patience = aiohttp.ClientTimeout(total=patience_s)

    async def caller(self, proof: AwsProof, headers: Mapping[str, str]) -> str:
        """The ARN of whoever signed these headers (`origin.api_aws.proof_headers`).

        Raises:
            ProofRefusedError: AWS takes the signature for nobody's.
            ProofUncheckedError: it did not say.
        """
        url = self._url or f"https://{sts_host(proof.region)}"
        sent = {**headers, "Authorization": authorization(proof, dict(headers))}
        try:
            # Rare, and kept apart from all else: no cookie and no connection outlives it.
            async with (
                aiohttp.ClientSession(timeout=self._patience, cookie_jar=aiohttp.DummyCookieJar()) as http,
                http.post(f"{url}/", data=BODY, headers=sent, allow_redirects=False) as reply,
            ):
                answer = await _bounded(reply)
                return _caller_in(reply.status, answer)
        except TimeoutError as error:
            raise ProofUncheckedError(f"{url} did not say in time whose proof this is") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ProofUncheckedError(
                f"{url} cannot be asked whose proof this is ({type(error).__name__}); can this origin reach it?"
            ) from error


async def _bounded(reply: aiohttp.ClientResponse) -> bytes:
    answer = bytearray()
    async for piece in reply.content.iter_any():
        answer += piece
        if len(answer) > ANSWER_LIMIT_BYTES:
            raise ProofUncheckedError("what answers as STS sends more than STS does")
    return bytes(answer)


def _caller_in(status: int, answer: bytes) -> str:
    if status == 200:
        return _arn_in(answer)
    found = _CODE.search(answer)
    if 400 <= status < 500 and found is not None and found[1] not in _BUSY:
        raise ProofRefusedError(f"AWS refuses the proof: {found[1].decode()}")
    raise ProofUncheckedError(f"STS answered {status} and did not say whose proof this is")


def _arn_in(answer: bytes) -> str:
    strange = ProofUncheckedError("what answers as STS does not answer the question that it was asked")
    if b"<!" in answer:  # neither entities nor comments: STS writes none
        raise strange
    try:
        root = ET.fromstring(answer)  # noqa: S314  # it is bounded and declares nothing
    except ET.ParseError as error:
        raise strange from error
    arns = root.findall(f"./{_SPACE}GetCallerIdentityResult/{_SPACE}Arn")
    if root.tag != f"{_SPACE}GetCallerIdentityResponse" or len(arns) != 1 or not arns[0].text:
        raise strange
    return arns[0].text.strip()
