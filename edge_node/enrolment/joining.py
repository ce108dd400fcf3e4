"""Joining: the origin proves itself by a pin, and only then hears a token's secret or the proof of an instance."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from edge_node.config import stated_token
from edge_node.enrolment.aws_instance import this_instance
from edge_node.enrolment.aws_signing import prove
from edge_node.enrolment.membership import (
    Membership,
    check_ours,
    context_for,
    keep_membership,
    key_digest,
    load_membership,
    pending_key,
    pin_of,
    signing_request,
)
from edge_node.errors import WrongPinError
from edge_node.identity import kept_id
from origin.api_aws import AwsJoinQuery
from origin.api_enrolment import InstanceJoin, JoinQuery, parse_way_in
from origin.client import OriginClient
from origin.errors import CertificateUnfitError, ClockSkewError
from registry.errors import ConfigError, EdgewardError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from edge_node.config import NodeConfig
    from origin.api_enrolment import AuthorityAnswer, CertificateAnswer, JoinToken

log = structlog.get_logger()

SKEW_LIMIT_S = 300.0
"""As far as certificates are dated back: a clock that is further off would refuse them, or be refused."""
_PAUSE_S = 1.0


async def join(
    data_dir: Path,
    way_in: str,
    origin_urls: Sequence[str],
    node_id: str,
    *,
    now_unix_s: float,
    again: bool = False,
) -> Membership:
    """Make this machine a node of the fleet whose authority is pinned.

    The authority's certificate is asked for over a connection that proves nothing, and compared with the pin; the
    secret, or the proof, goes over a second one, whose other end has shown a certificate of that very authority.

    Args:
        data_dir: where the membership is kept.
        way_in: a token, or `aws-iam.PIN`.
        origin_urls: of the origins' doors for nodes.
        node_id: of a node that joins by a token; one that joins as an instance is called as its instance, and another
            id is refused.
        now_unix_s: the wall clock.
        again: join anew, with a new key.

    Raises:
        InputInvalidError: that is no way in.
        ConfigError: the node is in already and `again` was not said, the URL is not https://, or the directory cannot
            be written.
        WrongPinError: the origin's authority is another; it has seen no secret.
        ClockSkewError: this machine's clock and the origin's are more than 5 minutes apart.
        OriginUnreachableError, OriginUntrustedError: nobody answers, or somebody else.
        TokenInvalidError, TokenExpiredError, TokenUsedError, TokenRevokedError, NodeIdTakenError, ProofRefusedError:
            the origin refused.
        InstanceUnknownError, ProofUncheckedError, ChallengeInvalidError: it can be tried again.
    """
    way = parse_way_in(way_in)
    _check_urls(origin_urls)
    before = load_membership(data_dir)
    if before is not None and not again:
        raise ConfigError(
            f"this node is in the fleet {before.fleet} as {before.node_id} already; to join anew, with a new key, say "
            "--again"
        )
    pinned = await _pinned_authority(way, origin_urls, now_unix_s)
    key = await asyncio.to_thread(pending_key, data_dir)
    async with OriginClient(origin_urls, tls=_always(context_for((pinned,)))) as origin:
        if isinstance(way, InstanceJoin):
            answer = await _as_instance(origin, way.pin, node_id, key, now_unix_s)
        else:
            answer = await origin.join(
                JoinQuery(
                    token_id=way.token_id, secret=way.secret, node_id=node_id, request=signing_request(key)
                )
            )
    membership = _membership(answer, key, tuple(origin_urls))
    await asyncio.to_thread(keep_membership, data_dir, membership)
    log.info("fleet.joined", node_id=membership.node_id, fleet=membership.fleet)
    return membership


def _check_urls(origin_urls: Sequence[str]) -> None:
    for url in origin_urls:
        if not url.startswith("https://"):
            raise ConfigError(
                f"{url!r} is not where nodes join: say https:// and the origin's port for nodes, such as "
                "https://origin.example:7743"
            )


async def _as_instance(
    origin: OriginClient, pin: str, node_id: str, key: str, now_unix_s: float
) -> CertificateAnswer:
    instance = await this_instance()
    challenge = (await origin.challenge()).challenge
    proof = prove(
        instance.credentials,
        instance.region,
        pin=pin,
        challenge=challenge,
        key_sha256=key_digest(key),
        now_unix_s=now_unix_s,
    )
    return await origin.join_by_role(
        AwsJoinQuery(
            challenge=challenge,
            pin=pin,
            node_id=instance.instance_id or node_id,
            request=signing_request(key),
            proof=proof,
        )
    )


async def _join_when_possible(
    config: NodeConfig, way_in: str, node_id: str, now_unix_s: Callable[[], float]
) -> Membership:
    """As `join`, again and again while the origin is away."""
    said = ""
    while True:
        try:
            return await join(config.data_dir, way_in, config.origin, node_id, now_unix_s=now_unix_s())
        except EdgewardError as error:
            if error.retry != "later":
                raise
            if error.message != said:
                log.warning("joining.delayed", reason=error.message)
            said = error.message
            await asyncio.sleep(error.retry_after_s or _PAUSE_S)


async def _pinned_authority(
    way: JoinToken | InstanceJoin, origin_urls: Sequence[str], now_unix_s: float
) -> str:
    """The certificate of the authority that is pinned, PEM, as whoever answers there shows it."""
    unproven = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unproven.check_hostname = False
    unproven.verify_mode = ssl.CERT_NONE  # what comes is compared with the pin
    async with OriginClient(origin_urls, tls=_always(unproven)) as origin:
        shown = await origin.authority()
    pinned = next((pem for pem in shown.certificates if _has_pin(pem, way.pin)), None)
    if pinned is None:
        raise WrongPinError(
            f"what answers at {origin.answering_url} is not an origin of the fleet that is pinned: its authority has "
            "another key. It was told no secret. Is the address right, and the token or the pin whole?"
        )
    _check_clocks(shown, now_unix_s)
    return pinned


def _has_pin(certificate: str, pin: str) -> bool:
    try:
        return pin_of(certificate) == pin
    except CertificateUnfitError:
        return False


def _check_clocks(shown: AuthorityAnswer, now_unix_s: float) -> None:
    if abs(shown.now_unix_s - now_unix_s) > SKEW_LIMIT_S:
        raise ClockSkewError(
            f"this machine's clock says {_stamp(now_unix_s)} and the origin's {_stamp(shown.now_unix_s)}: set the one "
            "that is wrong, since certificates are good for a day"
        )


def _membership(answer: CertificateAnswer, key: str, origin_urls: tuple[str, ...]) -> Membership:
    check_ours(answer.certificate, key)
    return Membership(
        node_id=answer.node_id,
        fleet=answer.fleet,
        origins=origin_urls,
        key=key,
        certificate=answer.certificate,
        authorities=answer.certificates,
        pool=answer.pool,
        region=answer.region,
    )


def _always(context: ssl.SSLContext) -> Callable[[], ssl.SSLContext]:
    return lambda: context


def _stamp(unix_s: float) -> str:
    try:
        return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError):  # whoever answers may say anything
        return f"{unix_s:g} s after 1970"


async def enrolled(
    config: NodeConfig, *, fresh_id: str, now_unix_s: Callable[[], float]
) -> Membership | None:
    """The membership that a starting node has, got with `join_token` if it has none; None for one without either.

    Raises:
        ConfigError: the settings give the node another id than it joined with.
        EdgewardError: as `join`.
    """
    kept = await asyncio.to_thread(load_membership, config.data_dir)
    token = "" if kept is not None else await asyncio.to_thread(stated_token, config)
    if token:
        node_id = config.node_id or kept_id(config.data_dir, fresh_id)
        kept = await _join_when_possible(config, token, node_id, now_unix_s)
    if kept is None and any(url.startswith("https://") for url in config.origin):
        # Or else all that is heard of it is that the origin's certificate comes from an authority nobody knows.
        log.warning(
            "joining.missed",
            reason="this node is in no fleet and has no node.join_token; where the origin is, `edgeward token create` "
            "makes one",
        )
    if kept is not None and config.node_id and config.node_id != kept.node_id:
        raise ConfigError(
            f"node.node_id = {config.node_id!r}, and this node joined the fleet as {kept.node_id!r}: leave it out, or "
            "join again with `edgeward node join --again`"
        )
    return kept


def origin_urls(config: NodeConfig, membership: Membership | None) -> tuple[str, ...]:
    """Where the origins are: for a member those that the settings name over TLS, or else where it joined."""
    if membership is None:
        return config.origin
    return tuple(url for url in config.origin if url.startswith("https://")) or membership.origins
