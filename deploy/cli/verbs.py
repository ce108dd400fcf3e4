"""The table of verbs: which file owns each, and what it does in one line."""

from __future__ import annotations

from typing import NamedTuple


class Verb(NamedTuple):
    """One verb; its module has DESCRIPTION, EXAMPLES, `add_arguments(parser)` and `run(args) -> int`.

    Attributes:
        extra: what to install for all that the verb can do; a bare install lacks it.
    """

    module: str
    line: str
    extra: str = "origin"


GROUPS: dict[str, dict[str, Verb]] = {
    "see it work on this machine": {
        "demo": Verb(
            "deploy.cli.demo", "publish, serve at three places, ask, update, lose a node: all checked", "demo"
        ),
        "up": Verb("deploy.cli.up", "start the whole network here and stay until Ctrl-C", "demo"),
    },
    "ask": {
        "ask": Verb("deploy.cli.ask", "stream an answer from the node that answers first"),
        "embed": Verb("deploy.cli.embed", "turn texts into vectors"),
        "route": Verb("deploy.cli.route", "show which nodes would answer, and why"),
        "nodes": Verb("deploy.cli.nodes", "show every edge node and what it serves"),
    },
    "publish": {
        "build": Verb(
            "deploy.cli.build", "make a model smaller and faster by a recipe, judge it, publish it", "build"
        ),
        "publish": Verb("deploy.cli.publish", "publish a model file or directory as a new version"),
        "promote": Verb("deploy.cli.promote", "point a channel at a published version"),
        "rollback": Verb("deploy.cli.rollback", "point a channel at what it pointed at before"),
        "yank": Verb("deploy.cli.yank", "withdraw a version for good"),
        "mirror": Verb("deploy.cli.mirror", "copy releases to another bucket or a directory, or back"),
        "gc": Verb("deploy.cli.gc", "remove the bytes that no release needs any more"),
        "models": Verb("deploy.cli.models", "list releases and channels"),
        "diff": Verb("deploy.cli.diff", "show what a node with one release fetches for another"),
        "pull": Verb("deploy.cli.pull", "fetch a release into a directory"),
        "verify": Verb("deploy.cli.verify", "check every byte of a fetched release"),
    },
    "sign": {
        "keys": Verb("deploy.cli.keys", "make, show, replace the keys that sign what is published"),
        "timestamp": Verb("deploy.cli.timestamp", "renew the date of what is signed"),
    },
    "let nodes and clients in": {
        "token": Verb("deploy.cli.token", "make, list, revoke tokens that nodes join with"),
        "clients": Verb("deploy.cli.clients", "make, list, rotate, revoke keys that clients are let in with"),
    },
    "know where clients are": {
        "geo": Verb("deploy.cli.geo", "get a database of the places of addresses, look one up"),
    },
    "put it onto machines": {
        "bundle": Verb("deploy.cli.bundle", "make the signed file that machines install"),
    },
    "run a part": {
        "origin": Verb("deploy.cli.origin", "run the origin: `edgeward origin serve`"),
        "node": Verb(
            "deploy.cli.node", "an edge node: `edgeward node serve`, `join TOKEN`, `status`", "node"
        ),
    },
}

VERBS: dict[str, Verb] = {name: verb for group in GROUPS.values() for name, verb in group.items()}


def summary() -> str:
    """All verbs by group, for the help."""
    lines: list[str] = []
    for title, verbs in GROUPS.items():
        lines += [f"{title}:", *(f"  {name:<9} {verb.line}" for name, verb in verbs.items()), ""]
    return "\n".join(lines)
