"""Nodes are let in and renew their certificates; and everything else at their door is for those that have one."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from origin.api_aws import AwsJoinQuery
from origin.api_enrolment import JoinQuery, RenewQuery
from origin.errors import EnrolmentOffError, NodeIdentityMismatchError, NodeNotEnrolledError
from origin.identity.standing import may_report_unenrolled
from origin.web.context import context_of
from origin.web.payload import read_message, reply
from registry.errors import EdgewardError
from registry.listening import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiohttp import web

    from origin.identity.certificates import NodeCertificate
    from origin.identity.enrolment import Enrolment

URLS = (
    "/v1/enrolment/authority",
    "/v1/enrolment/join",
    "/v1/enrolment/renew",
    "/v1/enrolment/challenge",
    "/v1/enrolment/join-aws",
)
_LIMIT_BYTES = 64 * 1024


async def authority(request: web.Request) -> web.Response:
    """GET /v1/enrolment/authority: the fleet's authority, for whoever has its pin to compare."""
    answer = reply(request, _enrolment_at_the_door(request).authority())
    answer.headers["Cache-Control"] = "no-store"
    return answer


async def join(request: web.Request) -> web.Response:
    """POST /v1/enrolment/join: a token and a signing request against a certificate."""
    enrolment = _enrolment_at_the_door(request)
    query, _ = await read_message(request, JoinQuery, _LIMIT_BYTES)
    with _counted(request, "join"):
        answer = await enrolment.join(query)
    return reply(request, answer)


async def challenge(request: web.Request) -> web.Response:
    """POST /v1/enrolment/challenge: what an instance on AWS names in its proof, once."""
    answer = reply(request, _enrolment_at_the_door(request).challenge())
    answer.headers["Cache-Control"] = "no-store"
    return answer


async def join_aws(request: web.Request) -> web.Response:
    """POST /v1/enrolment/join-aws: a proof of an instance's role and a signing request against a certificate."""
    enrolment = _enrolment_at_the_door(request)
    query, _ = await read_message(request, AwsJoinQuery, _LIMIT_BYTES)
    with _counted(request, "join_aws"):
        answer = await enrolment.join_by_role(query)
    return reply(request, answer)


async def renew(request: web.Request) -> web.Response:
    """POST /v1/enrolment/renew: the last certificate and a signing request against the next one."""
    enrolment = _enrolment_at_the_door(request)
    query, _ = await read_message(request, RenewQuery, _LIMIT_BYTES)
    with _counted(request, "renew"):
        answer = enrolment.renew(query, enrolment.door.node_at(request.transport))
    return reply(request, answer)


@contextmanager
def _counted(request: web.Request, way: str) -> Iterator[None]:
    """Count an attempt by its way in and by what came of it: "ok", or the code of what refused it."""
    counted = context_of(request).telemetry.enrolments
    try:
        yield
    except EdgewardError as error:
        counted.labels(way, error.code).inc()
        raise
    counted.labels(way, "ok").inc()


def check_door(request: web.Request) -> NodeCertificate | None:
    """Refuse at the nodes' door whoever shows no good certificate, but for those who come for one.

    Gives the certificate; None at the door for clients.

    Raises:
        NodeNotEnrolledError: there is none.
        NodeRevokedError, CertificateExpiredError, CertificateUnfitError: it is not good now.
    """
    enrolment = context_of(request).enrolment
    if enrolment is None or not enrolment.door.is_here(request.transport) or request.path in URLS:
        return None
    shown = enrolment.door.node_at(request.transport)
    if shown is None:
        raise NodeNotEnrolledError(
            "this port is for nodes with a certificate of this fleet; `edgeward node join TOKEN` gets one, and clients "
            "use the origin's other port"
        )
    enrolment.check(shown)
    return shown


def check_reporter(request: web.Request, shown: NodeCertificate | None, node_id: str) -> None:
    """Refuse a report by whoever is not that node.

    Raises:
        NodeIdentityMismatchError: the certificate names another.
        NodeNotEnrolledError: there is no certificate, and this origin can be reached by others; or this node has shown
            one before.
    """
    context = context_of(request)
    if shown is not None:
        if shown.node_id != node_id:
            raise NodeIdentityMismatchError(
                f"the certificate is of {shown.node_id} and the report of {node_id}", param="node_id"
            )
        return
    config = context.config
    if not may_report_unenrolled(loopback=is_loopback(config.host), insecure=config.insecure):
        raise NodeNotEnrolledError(
            "this origin hears nodes with a certificate only: make a token with `edgeward token create` and run "
            f"`edgeward node join TOKEN --origin https://HOST:{config.nodes_port}`"
        )
    if node_id in context.enrolled:
        raise NodeNotEnrolledError(
            f"{node_id} has shown a certificate to this origin, so nobody is heard under its name without one",
            param="node_id",
        )


def _enrolment_at_the_door(request: web.Request) -> Enrolment:
    context = context_of(request)
    enrolment = context.enrolment
    if enrolment is None:
        raise EnrolmentOffError(
            "this origin lets no nodes in: it does not hold the key of the fleet's authority"
        )
    if not enrolment.door.is_here(request.transport):  # a secret has no business on another listener
        raise EnrolmentOffError(
            f"nodes are let in at https://HOST:{context.config.nodes_port} (origin.nodes_port) alone"
        )
    return enrolment
