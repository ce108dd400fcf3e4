"""`edgeward keys`: the keys that sign what is published."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.cli.connect import add_store_arguments
from deploy.cli.terminal import add_json_argument, show_json

if TYPE_CHECKING:
    import argparse

    from registry.trust.keys import KeyDirectory

DESCRIPTION = """\
Make, show and replace the keys that sign which releases exist and where channels point. They lie in a directory of
their owner alone (store.keys_dir), never in the object store; EDGEWARD_STORE_KEYS_PASSPHRASE encrypts them. With them
lies the authority of the fleet, which certifies nodes.

  init               make all keys and the first root; needs no network
  show               what is here, and the sha256 of the first root, which nodes pin
  delegate NAMESPACE let the new key of this namespace publish NAMESPACE/...; needs the targets key
  rotate ROLE        replace the keys of root, targets or online (needs the root keys), or of a namespace
                     (`models` is that of names without one; needs the targets key)
  rotate fleet       take the next step of replacing the authority: stage a second, let it sign, retire the first;
                     let a day pass between them, so that every node has renewed its certificate
  renew ROLE         sign root, targets or a namespace's role with a new date and the same keys

Move the root and targets keys to offline media after init; bring them back for the one command that needs them."""

EXAMPLES = """\
  edgeward keys init
  edgeward keys init --dir /media/usb/keys --root-keys 3 --threshold 2
  edgeward keys delegate team
  edgeward keys rotate online"""

FLEET = "fleet"
_STEPS = {
    "staged": "a second authority is there; origins show it to nodes within 30 s, and nodes know it when they have "
    "renewed, which takes a day. Then run this again, and the second one signs",
    "switched": "the second authority signs, and tokens of before are void; the first is still believed. When every "
    "node has renewed, which takes a day, or 30 for nodes that may be cut off, run this again, and the first is "
    "believed no more",
    "retired": "the first authority is believed no more",
}
_ACTIONS = ("init", "show", "delegate", "rotate", "renew")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.add_argument("action", choices=_ACTIONS)
    parser.add_argument(
        "role", metavar="ROLE", nargs="?", help="root, targets, online, models or a namespace"
    )
    parser.add_argument("--dir", metavar="DIR", help="the key directory (default: store.keys_dir)")
    parser.add_argument("--root-keys", type=int, default=1, metavar="N", help="init: how many root keys (1)")
    parser.add_argument(
        "--threshold", type=int, default=1, metavar="T", help="init: how many of them must sign (1)"
    )
    add_store_arguments(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    from deploy.cli.connect import open_keys
    from registry.errors import InputInvalidError

    if (args.role is None) != (args.action in {"init", "show"}):
        raise InputInvalidError(
            f"`edgeward keys {args.action}` takes {'no role' if args.role else 'a role or namespace'}"
        )
    keys = open_keys(args)
    if args.action == "init":
        _init(args, keys)
    elif args.action == "rotate" and args.role == FLEET:
        return _rotate_fleet(args)
    elif args.action != "show":
        _sign(args)
    return _show(args, keys)


def _init(args: argparse.Namespace, keys: KeyDirectory) -> None:
    import time

    from deploy.cli.connect import authority_in
    from origin.identity.authority import fresh_fleet
    from registry.errors import InputInvalidError
    from registry.trust.ceremony import begin

    if keys.begun:
        raise InputInvalidError(
            f"{keys.place} holds a root of trust already; say another directory with --dir"
        )
    begin(keys, now_unix_s=time.time(), root_keys_count=args.root_keys, threshold=args.threshold)
    authority_in(args).open_or_begin(fresh_fleet=fresh_fleet(), now_unix_s=time.time())


def _rotate_fleet(args: argparse.Namespace) -> int:
    import time

    from deploy.cli.connect import authority_in

    directory = authority_in(args)
    step = directory.advance(time.time())
    authority = directory.open()
    if args.json:
        show_json({"step": step, "fleet": authority.fleet, "pin": authority.pin})
        return 0
    print(f"{step}: {_STEPS[step]}")
    return 0


def _sign(args: argparse.Namespace) -> None:
    from deploy.cli.connect import open_store
    from registry.trust.ceremony import ROTATABLE
    from registry.trust.statements import ROLE, role_of_namespace

    publisher = open_store(args).publisher
    namespace = "" if args.role == ROLE else args.role
    if args.action == "delegate" or (args.action == "rotate" and args.role not in ROTATABLE):
        publisher.delegate(namespace)
    elif args.action == "rotate":
        publisher.rotate(args.role)
    elif args.role == "online":
        publisher.renew(even_if_young=True)
    else:
        publisher.renew_offline(args.role if args.role in ROTATABLE else role_of_namespace(namespace))


def _show(args: argparse.Namespace, keys: KeyDirectory) -> int:
    from deploy.cli.connect import authority_in
    from registry.digest import digest_of
    from registry.trust.keys import ROOT_FILE
    from registry.trust.verification import check_root

    data = keys.read(ROOT_FILE)
    root = check_root(data)
    said = root.roles["root"]
    authority = authority_in(args)
    fleet = authority.open() if authority.begun else None
    facts = {
        "directory": keys.place,
        "root_sha256": digest_of(data),
        "root_keys_count": len(said.keyids),
        "root_threshold": said.threshold,
        "root_expires": root.expires.isoformat(),
        "fleet": fleet.fleet if fleet else None,
        "fleet_pin": fleet.pin if fleet else None,
        "keys": [{"role": label, "key": start} for label, start in keys.labels()],
    }
    if args.json:
        show_json(facts)
        return 0
    print(f"keys in      {keys.place}")
    print(f"first root   {keys.directory / ROOT_FILE}: copy it to every node as node.trusted_root")
    print(f"its sha256   {facts['root_sha256']}")
    if fleet is not None:
        print(f"fleet        {fleet.fleet}, whose join tokens pin {fleet.pin}")
    print(f"root keys    {said.threshold} of {len(said.keyids)} must sign; good until {root.expires.date()}")
    for label, start in keys.labels():
        print(f"  {label:<12} {start}")
    return 0
