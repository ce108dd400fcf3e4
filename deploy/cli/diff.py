"""`edgeward diff`: what a node that holds one release would fetch for another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.cli.connect import add_store_arguments
from deploy.cli.terminal import add_json_argument, counted, show_json
from deploy.sizes import human_bytes

if TYPE_CHECKING:
    import argparse

    from registry.update_cost import UpdateCost

DESCRIPTION = """\
Show what a node that holds release A would fetch to get release B, and why: the manifest, chunks that are new,
and the delta between the two where publishing wrote one. With --variant, for a node that holds one variant of each.
Reads manifests alone, and the heads of deltas, from the object store."""

EXAMPLES = """\
  edgeward diff chat@1.2.0 chat@1.3.0
  edgeward diff chat@1.2.0 chat@1.3.0 --variant q4_k_m
  edgeward diff chat:stable chat:canary --json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.add_argument("base", metavar="A", help="the release that a node holds, such as chat@1.2.0")
    parser.add_argument("new", metavar="B", help="the release that it should get")
    parser.add_argument("--variant", metavar="NAME", help="the variant that the node holds and wants (all)")
    add_store_arguments(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Compare; returns the exit code."""
    from deploy.cli.connect import open_store
    from registry.catalog import Catalog
    from registry.layout import delta_key
    from registry.manifest import manifest_digest, part_of
    from registry.reference import parse_reference
    from registry.update_cost import delta_cost, update_cost

    references = parse_reference(args.base), parse_reference(args.new)  # before the network
    store = open_store(args)
    catalog = Catalog(store).frozen()
    names = [catalog.resolve(reference) for reference in references]
    (base_data, base), (new_data, new) = (catalog.manifest(*name) for name in names)
    wanted = None if args.variant is None else [args.variant]
    parts = part_of(base, wanted), part_of(new, wanted)
    key = delta_key(manifest_digest(new_data), manifest_digest(base_data))
    delta = store.head(key)
    delta_bytes, requests_count = None, 0
    if delta is not None:
        delta_bytes, requests_count = delta_cost(
            base_data,
            new_data,
            *parts,
            delta.length_bytes,
            lambda at, length: store.get_range(key, at, length),
        )
    cost = update_cost(
        *parts, manifest_bytes=len(new_data), delta_bytes=delta_bytes, delta_requests_count=requests_count
    )
    base_name, new_name = ("@".join(name) for name in names)
    if args.json:
        show_json({"base": base_name, "new": new_name, "variant": args.variant, "cost": cost})
    else:
        print(_in_words(base_name, new_name, cost))
    return 0


def _in_words(base: str, new: str, cost: UpdateCost) -> str:
    if cost.delta_bytes is not None:
        how = f"the delta: {human_bytes(cost.delta_bytes)}"
    else:
        how = f"the manifest: {human_bytes(cost.manifest_bytes)}, and packs: {human_bytes(cost.pack_bytes)}"
    return (
        f"{base} to {new}: {human_bytes(cost.fetched_bytes)} in {counted(cost.requests_count, 'request')}, of "
        f"{human_bytes(cost.total_bytes)}\n"
        f"  fetched   {how}\n"
        f"  new       {counted(cost.new_chunks_count, 'chunk')}, {human_bytes(cost.new_raw_bytes)}; in packs "
        f"{human_bytes(cost.new_stored_bytes)}\n"
        f"  the same  {counted(cost.same_chunks_count, 'chunk')}"
    )
