"""The desk where instances on AWS prove their role: gives challenges, has proofs checked by STS, says who it is."""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from origin.api_aws import ChallengeAnswer, proof_headers
from origin.errors import CertificateUnfitError, ClockSkewError, ProofRefusedError, ProofUncheckedError
from origin.identity.challenges import CHANCE_BYTES, TTL_S, Challenges
from origin.identity.instances import admitted_roles, check_is, instance_of
from origin.identity.tokens import stamp

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from origin.api_aws import AwsJoinQuery
    from origin.identity.sts import Sts

SKEW_LIMIT_S = 300.0
_AT_ONCE_COUNT = 16
"""Strangers can have us ask STS; this bounds how often that is."""


class AwsDesk:
    """One origin's desk.

    Args:
        admitted_arns: of the roles whose instances are let in; none lets nobody in.
        sts: who is asked.

    Raises:
        ConfigError: one is not the ARN of a role.
    """

    def __init__(self, admitted_arns: Sequence[str], sts: Sts) -> None:
        self._admitted = admitted_roles(admitted_arns)
        self._sts = sts
        self._challenges = Challenges(secrets.token_bytes(32))
        self._asking_count = 0

    def challenge(self, now_unix_s: float) -> ChallengeAnswer:
        """What a proof must name.

        Raises:
            ProofRefusedError: no role is admitted.
        """
        self._check_open()
        return ChallengeAnswer(
            challenge=self._challenges.give(secrets.token_bytes(CHANCE_BYTES), now_unix_s), ttl_s=TTL_S
        )

    async def check(
        self, query: AwsJoinQuery, key_sha256: str, pins: Collection[str], now_unix_s: float
    ) -> str:
        """Who asks, as AWS says it: an ARN. The instance is the one that it asks for, under an admitted role.

        Args:
            query: what was asked.
            key_sha256: of the key that the certificate is for.
            pins: of the fleet's authority, those that count now.
            now_unix_s: the wall clock.

        Raises:
            ProofRefusedError: it is not of this fleet, AWS refuses it, or its role is not admitted.
            ClockSkewError: it was signed over 5 minutes from now.
            ChallengeInvalidError: its challenge does not count here any more.
            ProofUncheckedError: AWS did not say, or is being asked as often as it may be.
        """
        self._check_open()
        if query.pin not in pins:
            raise ProofRefusedError("this proof was signed for another fleet: its authority has another key")
        _check_time(query.proof.signed_at, now_unix_s)
        with self._turn():
            self._challenges.take(query.challenge, now_unix_s)
            headers = proof_headers(
                region=query.proof.region,
                signed_at=query.proof.signed_at,
                session_token=query.proof.session_token,
                pin=query.pin,
                challenge=query.challenge,
                key_sha256=key_sha256,
            )
            caller_arn = await self._sts.caller(query.proof, headers)
        check_is(instance_of(caller_arn, self._admitted), query.node_id)
        return caller_arn

    def _check_open(self) -> None:
        if not self._admitted:
            raise ProofRefusedError(
                "no node joins here by its role on AWS: name the roles in origin.admitted_aws_roles, or make a token"
            )

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if self._asking_count >= _AT_ONCE_COUNT:
            raise ProofUncheckedError(
                "many instances join at this moment: ask again in a second", retry_after_s=1.0
            )
        self._asking_count += 1
        try:
            yield
        finally:
            self._asking_count -= 1


def _check_time(signed_at: str, now_unix_s: float) -> None:
    try:
        at_unix_s = datetime.strptime(signed_at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError as error:
        raise CertificateUnfitError(f"{signed_at!r} is no moment", param="proof.signed_at") from error
    if abs(at_unix_s - now_unix_s) > SKEW_LIMIT_S:
        raise ClockSkewError(
            f"the proof was signed at {stamp(at_unix_s)} and the origin's clock says {stamp(now_unix_s)}: set the one "
            "that is wrong"
        )
