"""Enrolment at one origin: lets nodes in, renews their certificates, and knows soon who was turned out."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import structlog

from origin.api_enrolment import AuthorityAnswer, CertificateAnswer
from origin.blocking import BlockingCalls
from origin.errors import NodeIdentityMismatchError, NodeRevokedError
from origin.identity.aws_desk import AwsDesk
from origin.identity.certificates import (
    key_digest,
    pin_of,
    read_certificates,
    read_node_certificate,
    read_request,
)
from origin.identity.door import Door
from origin.identity.register import Register, Revoked
from origin.identity.standing import GRACE_S, check_same_key, check_standing
from origin.identity.sts import Sts
from origin.identity.tokens import stamp
from registry.durable import write_durably
from registry.errors import EdgewardError
from registry.wire import from_json, to_json
from registry.works import problem_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric import ec

    from origin.api_aws import AwsJoinQuery, ChallengeAnswer
    from origin.api_enrolment import JoinQuery, RenewQuery
    from origin.identity.authority import AuthorityDirectory
    from origin.identity.certificates import NodeCertificate
    from origin.identity.register import NodeRecord
    from registry.store import ObjectStore

log = structlog.get_logger()

LOOK_S = 2.0
_CALLS_COUNT = 8
_LOOKS_PER_AUTHORITY = 15  # the key directory is looked at every 30 s
_KEPT_FILE = "revoked.json"


class Enrolment:
    """The authority, the register and the door of one origin.

    Args:
        directory: the authority's; its key must be there.
        store: where tokens and nodes are kept.
        data_dir: the origin's own directory: the last list of those that were turned out is kept there.
        now_unix_s: the wall clock.
        look_s: how often the list of those that were turned out is read.
        aws: where instances on AWS prove their role; None lets none in that way.

    Raises:
        KeyUnusableError: the authority's key cannot be used.
    """

    def __init__(
        self,
        directory: AuthorityDirectory,
        store: ObjectStore,
        data_dir: Path,
        now_unix_s: Callable[[], float],
        *,
        look_s: float = LOOK_S,
        aws: AwsDesk | None = None,
    ) -> None:
        self.problem = ""
        self.url = ""
        self.door = Door(directory.open(), data_dir, now_unix_s())
        self._directory = directory
        self._register = Register(store)
        self._kept = data_dir / _KEPT_FILE
        self._now_unix_s = now_unix_s
        self._look_s = look_s
        self._aws = aws or AwsDesk((), Sts())
        self._calls = BlockingCalls(_CALLS_COUNT)
        self._revoked = self._last_known()

    def authority(self) -> AuthorityAnswer:
        """What anybody may know of the authority."""
        authority = self.door.authority
        return AuthorityAnswer(
            fleet=authority.fleet, certificates=authority.pems, now_unix_s=self._now_unix_s()
        )

    async def join(self, query: JoinQuery) -> CertificateAnswer:
        """Let a node in by its token.

        Raises:
            CertificateUnfitError: the request is not a node's.
            TokenInvalidError, TokenExpiredError, TokenUsedError, TokenRevokedError, NodeIdTakenError: not this way.
            NodeRevokedError: this very key was turned out.
            StoreError: it cannot be written down now; nothing has changed, or the same call goes on from there.
        """
        key = read_request(query.request)
        digest = key_digest(key)
        await self._look()
        self._refuse_revoked_key(query.node_id, digest)
        record = await self._calls.run(
            self._register.admit, query.token_id, query.secret, query.node_id, digest, self._now_unix_s()
        )
        return self._let_in(record, key)

    def challenge(self) -> ChallengeAnswer:
        """What an instance on AWS must name in its proof. Raises ProofRefusedError: none is let in that way."""
        return self._aws.challenge(self._now_unix_s())

    async def join_by_role(self, query: AwsJoinQuery) -> CertificateAnswer:
        """Let in an instance on AWS that runs under an admitted role.

        Raises:
            CertificateUnfitError: the request is not a node's.
            ProofRefusedError, ClockSkewError, ChallengeInvalidError: not this way.
            ProofUncheckedError: AWS did not say who it is.
            NodeIdTakenError, NodeRevokedError: the instance is in with another key, or was turned out.
            StoreError: as `join`.
        """
        key = read_request(query.request)
        digest = key_digest(key)
        pins = [pin_of(certificate) for certificate in self.door.authority.certificates]
        caller_arn = await self._aws.check(query, digest, pins, self._now_unix_s())
        await self._look()
        self._refuse_revoked_key(query.node_id, digest)
        record = await self._calls.run(
            self._register.admit_proven, query.node_id, caller_arn, digest, self._now_unix_s()
        )
        return self._let_in(record, key)

    def _let_in(self, record: NodeRecord, key: ec.EllipticCurvePublicKey) -> CertificateAnswer:
        authority = self.door.authority
        log.info(
            "node.enrolled",
            node_id=record.node_id,
            token_id=record.token_id,
            caller_arn=record.caller_arn,
            pool=record.pool,
            region=record.region,
        )
        return CertificateAnswer(
            node_id=record.node_id,
            fleet=authority.fleet,
            certificate=authority.certify_node(key, record.node_id, self._now_unix_s()),
            certificates=authority.pems,
            pool=record.pool,
            region=record.region,
        )

    def renew(self, query: RenewQuery, caller: NodeCertificate | None) -> CertificateAnswer:
        """Another certificate for the same key, up to 30 days after the last one ended.

        Who asks has the key: the request is signed with it. `caller` is whose certificate the connection showed, if
        it showed one.

        Raises:
            CertificateUnfitError: not this fleet's, or for another key.
            NodeRevokedError, CertificateExpiredError: it gets no other.
            NodeIdentityMismatchError: the connection is another node's.
        """
        authority = self.door.authority
        key = read_request(query.request)
        shown = read_node_certificate(read_certificates(query.certificate)[0], authority.certificates)
        check_same_key(shown, key_digest(key))
        check_standing(shown, self._revoked.keys, self._now_unix_s(), grace_s=GRACE_S)
        if caller is not None and (caller.node_id, caller.key_sha256) != (shown.node_id, shown.key_sha256):
            raise NodeIdentityMismatchError(
                f"the connection is of {caller.node_id} and the certificate of {shown.node_id}",
                param="certificate",
            )
        log.info("certificate.renewed", node_id=shown.node_id)
        return CertificateAnswer(
            node_id=shown.node_id,
            fleet=authority.fleet,
            certificate=authority.certify_node(key, shown.node_id, self._now_unix_s()),
            certificates=authority.pems,
        )

    def check(self, caller: NodeCertificate) -> None:
        """Refuse who may not speak now. Raises NodeRevokedError, CertificateExpiredError."""
        check_standing(caller, self._revoked.keys, self._now_unix_s())

    @property
    def now_unix_s(self) -> float:
        """The wall clock."""
        return self._now_unix_s()

    async def keep_fresh(self) -> NoReturn:
        """Read the list of those turned out every 2 s, and keep the door's certificate and the authority new."""
        looks_count = 0
        while True:
            renews_door = looks_count % _LOOKS_PER_AUTHORITY == 0
            self._note(await problem_of("enrolment", partial(self._freshen, renews_door=renews_door)))
            looks_count += 1
            await asyncio.sleep(self._look_s)

    async def _freshen(self, *, renews_door: bool) -> None:
        await self._look()
        if renews_door:
            await self._calls.run(self._renew_door)

    async def _look(self) -> None:
        revoked = await self._calls.run(self._register.revoked)
        if revoked != self._revoked:
            self._revoked = revoked
            log.info("revocations.changed", revoked_count=len(revoked.keys))
            await self._calls.run(write_durably, self._kept, to_json(revoked))

    def _renew_door(self) -> None:
        if self.door.renew(self._directory.open(), self._now_unix_s()):
            log.info("door.renewed", not_after_unix_s=self.door.not_after_unix_s)

    def _refuse_revoked_key(self, node_id: str, digest: str) -> None:
        turned_out = self._revoked.keys.get(digest)
        if turned_out is not None:
            raise NodeRevokedError(
                f"the key that {node_id} shows was revoked at {stamp(turned_out[1])}: "
                "`edgeward node join --again` makes another"
            )

    def _last_known(self) -> Revoked:
        """The list of the last run: a store that is away at the start must not let the turned out back in."""
        try:
            return from_json(self._kept.read_bytes(), Revoked)
        except (OSError, EdgewardError):  # the first start, or damaged: the store's own is read at once
            return Revoked()

    def _note(self, problem: str) -> None:
        if problem and problem != self.problem:
            log.warning("enrolment.hindered", problem=problem)
        self.problem = problem
