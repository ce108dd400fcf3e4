"""`edgeward clients`: the keys that clients are let in with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.cli.connect import add_store_arguments
from deploy.cli.terminal import add_json_argument, show_json, show_table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from registry.client_keys import ClientKey

DESCRIPTION = """\
Make, list, rotate and revoke client keys. A key is shown once; the object store keeps the hash of its secret, in a list
that is signed with the key `client-keys` in store.keys_dir. Origins and nodes with require_keys let nobody in without
one; they know of a change within seconds, and check keys by the last list while they are cut off.

  create NAME   make one for a client, good for 90 days unless --expires says otherwise
  list          every key and what it may do
  rotate ID     give a key another secret; the one of before is good for --overlap more
  revoke ID     let it let nobody in any more; --forget drops it from the list too"""

EXAMPLES = """\
  edgeward clients create web-shop
  edgeward clients create tests --models 'chat,embed*' --expires '7 d' --rate 10/s --concurrent 8
  edgeward clients rotate 3f9c0a51d2e8 --overlap '1 h'
  EDGEWARD_CLIENT_API_KEY=ek_... edgeward ask "Is anybody there?" """

_ACTIONS = ("create", "list", "rotate", "revoke")
_NEVER = "never"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.add_argument("action", choices=_ACTIONS)
    parser.add_argument("which", metavar="NAME|ID", nargs="?", help="create: a name; rotate, revoke: the id")
    parser.add_argument(
        "--models", default="*", metavar="PATTERNS", help="create: the models it may ask, with commas (*)"
    )
    parser.add_argument(
        "--expires", default="90 d", metavar="TIME", help=f"create: how long it is good, or {_NEVER} (90 d)"
    )
    parser.add_argument(
        "--rate", metavar="N/TIME", help="create: requests to each node and origin, such as 10/s (no limit)"
    )
    parser.add_argument(
        "--concurrent",
        type=int,
        default=0,
        metavar="N",
        help="create: requests at a time on a node (no limit)",
    )
    parser.add_argument(
        "--overlap", default="1 d", metavar="TIME", help="rotate: how long the old secret is good (1 d)"
    )
    parser.add_argument("--forget", action="store_true", help="revoke: drop it from the list too")
    parser.add_argument("--dir", metavar="DIR", help="the key directory (default: store.keys_dir)")
    add_store_arguments(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    from registry.errors import InputInvalidError

    if (args.which is None) != (args.action == "list"):
        wanted = {"create": "a name", "list": "nothing more"}.get(args.action, "the id of a key")
        raise InputInvalidError(f"`edgeward clients {args.action}` takes {wanted}")
    return {"create": _create, "list": _list, "rotate": _rotate, "revoke": _revoke}[args.action](args)


def _create(args: argparse.Namespace) -> int:
    import secrets
    import time

    from deploy.cli.connect import open_store
    from registry.client_keys import ID_BYTES, SECRET_BYTES, added, new_key, parse_rate
    from registry.settings import seconds_of

    token, key = new_key(
        id_bytes=secrets.token_bytes(ID_BYTES),
        secret_bytes=secrets.token_bytes(SECRET_BYTES),
        name=args.which,
        now_unix_s=time.time(),
        models=[pattern.strip() for pattern in args.models.split(",")],
        ttl_s=None if args.expires == _NEVER else seconds_of(args.expires, "expires"),
        rate_per_h=0 if args.rate is None else parse_rate(args.rate),
        concurrent_count=args.concurrent,
    )
    open_store(args).publisher.change_client_keys(lambda keys: added(keys, key))
    _show_new(args, token, key)
    return 0


def _rotate(args: argparse.Namespace) -> int:
    import secrets
    import time

    from deploy.cli.connect import open_store
    from registry.client_keys import SECRET_BYTES, rotated
    from registry.settings import seconds_of

    overlap_s, secret_bytes = seconds_of(args.overlap, "overlap"), secrets.token_bytes(SECRET_BYTES)
    made: list[tuple[str, ClientKey]] = []

    def change(keys: Mapping[str, ClientKey]) -> Mapping[str, ClientKey]:
        token, changed = rotated(
            keys, args.which, secret_bytes=secret_bytes, overlap_s=overlap_s, now_unix_s=time.time()
        )
        made.append((token, changed[args.which]))
        return changed

    open_store(args).publisher.change_client_keys(change)
    _show_new(args, *made[-1])
    return 0


def _list(args: argparse.Namespace) -> int:
    import time

    from deploy.cli.connect import open_store
    from origin.identity.tokens import stamp
    from registry.trust.statements import CLIENT_KEYS_ROLE

    verified, _ = open_store(args).reader.read()
    known = verified is not None and CLIENT_KEYS_ROLE in {*verified.contents, *verified.problems}
    keys = verified.contents_for(CLIENT_KEYS_ROLE).client_keys if verified is not None and known else {}
    now_unix_s = time.time()
    newest_first = sorted(keys.values(), key=lambda key: (-key.created_unix_s, key.key_id))
    if args.json:
        show_json({"keys": [_facts(key, now_unix_s) for key in newest_first]})
        return 0
    rows = [
        [
            key.key_id,
            key.state(now_unix_s),
            key.name,
            ", ".join(key.models),
            stamp(key.expires_unix_s) if key.expires_unix_s is not None else _NEVER,
            _rate(key) or "-",
            str(key.concurrent_count or "-"),
        ]
        for key in newest_first
    ]
    if rows:
        show_table(["KEY", "STATE", "NAME", "MODELS", "EXPIRES", "RATE", "AT A TIME"], rows, numbers=(6,))
    else:
        print("there are no client keys; `edgeward clients create NAME` makes one")
    return 0


def _revoke(args: argparse.Namespace) -> int:
    import time

    from deploy.cli.connect import open_store
    from registry.client_keys import revoked

    now_unix_s = time.time()
    open_store(args).publisher.change_client_keys(
        lambda keys: revoked(keys, args.which, now_unix_s=now_unix_s, forget=args.forget)
    )
    if args.json:
        show_json({"id": args.which, "state": "forgotten" if args.forget else "revoked"})
    else:
        print(f"{args.which} lets nobody in any more, once origins and nodes have heard of it")
    return 0


def _show_new(args: argparse.Namespace, token: str, key: ClientKey) -> None:
    from deploy.cli.terminal import dim
    from origin.identity.tokens import stamp

    if args.json:
        show_json({"key": token, **_facts(key, key.created_unix_s)})
        return
    print(token)
    until = f"until {stamp(key.expires_unix_s)}" if key.expires_unix_s is not None else "without an end"
    dim(
        f"{key.name} may ask {', '.join(key.models)} {until}; the key is not shown again. Clients send it as "
        "`Authorization: Bearer`: OpenAI's as api_key, ours as EDGEWARD_CLIENT_API_KEY"
    )


def _rate(key: ClientKey) -> str:
    return f"{key.rate_per_h / 3600:g}/s" if key.rate_per_h else ""


def _facts(key: ClientKey, now_unix_s: float) -> dict[str, object]:
    """What of a key may be shown: not even the hash of its secret."""
    return {
        "id": key.key_id,
        "name": key.name,
        "state": key.state(now_unix_s),
        "models": key.models,
        "created_unix_s": key.created_unix_s,
        "expires_unix_s": key.expires_unix_s,
        "rate_per_h": key.rate_per_h,
        "concurrent_count": key.concurrent_count,
        "secrets_count": len(key.secrets),
    }
