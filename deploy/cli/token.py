"""`edgeward token`: what nodes join the fleet with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.cli.connect import add_store_arguments
from deploy.cli.terminal import add_json_argument, show_json, show_table

if TYPE_CHECKING:
    import argparse

    from origin.identity.tokens import TokenRecord

DESCRIPTION = """\
Make, list and revoke join tokens. A token is shown once; the object store keeps the hash of its secret. It names the
key of the fleet's authority, so a node tells the secret to no one but an origin of this fleet.

  create     make one: a single node within an hour, unless --uses and --ttl say otherwise
  list       every token, and whom it let in
  pin        the pin of the fleet's authority, which is in every token and no secret: instances on AWS join with it
  revoke ID  let it let nobody in any more; nodes that it let in stay (`edgeward nodes revoke` turns those out)"""

EXAMPLES = """\
  edgeward token create
  edgeward token create --uses 20 --ttl '2 d' --label 'store rollout' --region eu
  edgeward token revoke 3f9c0a51d2e8"""

_ACTIONS = ("create", "list", "revoke", "pin")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.add_argument("action", choices=_ACTIONS)
    parser.add_argument("token_id", metavar="ID", nargs="?", help="revoke: which")
    parser.add_argument(
        "--uses", type=int, default=1, metavar="N", help="create: how many nodes it lets in (1)"
    )
    parser.add_argument("--ttl", default="1 h", metavar="TIME", help="create: how long it may be used (1 h)")
    parser.add_argument("--label", default="", help="create: what it is for, in words")
    parser.add_argument("--pool", default="", help="create: what its nodes belong to")
    parser.add_argument("--region", default="", help="create: where its nodes stand")
    parser.add_argument("--dir", metavar="DIR", help="the key directory (default: where the origin finds it)")
    add_store_arguments(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    from registry.errors import InputInvalidError

    if (args.token_id is None) == (args.action == "revoke"):
        raise InputInvalidError(
            f"`edgeward token {args.action}` takes {'the id of a token' if args.action == 'revoke' else 'no id'}"
        )
    return {"create": _create, "list": _list, "revoke": _revoke, "pin": _pin}[args.action](args)


def _create(args: argparse.Namespace) -> int:
    import time

    from deploy.cli.connect import authority_in, open_register
    from deploy.cli.terminal import dim
    from origin.identity.certificates import pin_of
    from origin.identity.tokens import stamp
    from registry.settings import seconds_of

    door_url = _door_url(args)
    token, record = open_register(args).make_token(
        pin_of(authority_in(args).certificates()[0]),
        now_unix_s=time.time(),
        ttl_s=seconds_of(args.ttl, "ttl"),
        uses_count=args.uses,
        label=args.label,
        pool=args.pool,
        region=args.region,
    )
    if args.json:
        show_json({"token": str(token), **_facts(record, record.created_unix_s)})
        return 0
    print(token)
    nodes = "one node" if record.uses_count == 1 else f"{record.uses_count} nodes"
    dim(
        f"lets in {nodes} until {stamp(record.expires_unix_s)} and is not shown again; on the node: "
        f"edgeward node join TOKEN --origin {door_url}"
    )
    return 0


def _door_url(args: argparse.Namespace) -> str:
    """Where nodes join, as far as the settings of this machine say."""
    from deploy.cli.connect import config_file
    from origin.config import OriginConfig
    from registry.settings import load_settings

    origin = load_settings(OriginConfig, "origin", file=config_file(args))
    return origin.nodes_public_url or f"https://HOST:{origin.nodes_port}"


def _pin(args: argparse.Namespace) -> int:
    from deploy.cli.connect import authority_in
    from origin.identity.certificates import fleet_of, pin_of

    certificate = authority_in(args).certificates()[0]
    if args.json:
        show_json({"fleet": fleet_of(certificate), "pin": pin_of(certificate)})
    else:
        print(pin_of(certificate))
    return 0


def _list(args: argparse.Namespace) -> int:
    import time

    from deploy.cli.connect import open_register
    from origin.identity.tokens import stamp

    now_unix_s = time.time()
    records = open_register(args).tokens()
    if args.json:
        show_json({"tokens": [_facts(record, now_unix_s) for record in records]})
        return 0
    rows = [
        [
            record.token_id,
            record.state(now_unix_s),
            f"{len(record.claims)}/{record.uses_count}",
            stamp(record.expires_unix_s),
            record.label,
            record.pool,
            record.region,
            ", ".join(claim.node_id for claim in record.claims) or "-",
        ]
        for record in records
    ]
    if rows:
        show_table(
            ["TOKEN", "STATE", "USED", "EXPIRES", "LABEL", "POOL", "REGION", "NODES"], rows, numbers=(2,)
        )
    else:
        print("there are no join tokens; `edgeward token create` makes one")
    return 0


def _revoke(args: argparse.Namespace) -> int:
    import time

    from deploy.cli.connect import open_register

    record = open_register(args).revoke_token(args.token_id, time.time())
    if args.json:
        show_json(_facts(record, time.time()))
    else:
        print(f"{record.token_id} lets nobody in any more; it had let in {len(record.claims)}")
    return 0


def _facts(record: TokenRecord, now_unix_s: float) -> dict[str, object]:
    """What of a token may be shown: not even the hash of its secret."""
    return {
        "id": record.token_id,
        "state": record.state(now_unix_s),
        "uses_count": record.uses_count,
        "created_unix_s": record.created_unix_s,
        "expires_unix_s": record.expires_unix_s,
        "label": record.label,
        "pool": record.pool,
        "region": record.region,
        "nodes": [{"node_id": claim.node_id, "enrolled_unix_s": claim.at_unix_s} for claim in record.claims],
    }
