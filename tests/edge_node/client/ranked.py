"""Ranked lists for tests of the choice of a node."""

from __future__ import annotations

from origin.api import RankedNode, RouteAnswer


def ranked_node(node_id, score_s=0.1, rtt_ms=10.0, **more):
    return RankedNode(
        **{
            "node_id": node_id, "url": "http://x", "label": "", "place": None, "distance_km": None,
            "rtt_ms": rtt_ms, "score_s": score_s, "terms_s": {"network": rtt_ms / 1000}, "version": "1", **more,
        }
    )  # fmt: skip


def ranked_list(*nodes, ttl_s=60.0):
    return RouteAnswer(model="chat", nodes=nodes, ttl_s=ttl_s, place=None, place_source="none")


def ranked(count, ttl_s=60.0):
    """So many nodes n0, n1 …, each a second worse than the one before."""
    return ranked_list(*(ranked_node(f"n{i}", float(i)) for i in range(count)), ttl_s=ttl_s)
