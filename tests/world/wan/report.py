"""What a run under faults came to: success, how long failing over took, what was sent too often, and herds. Pure."""

from __future__ import annotations

HERD_WINDOW_S = 10.0


def quantile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def failover_s(row):
    """How long a call that needed another node waited for it; None for one that did not."""
    if not row["ok"]:
        return None
    waits = []
    if row["refusals"] or row["attempts"] > 1 + row["hedged"]:
        waits.append(row["ttft_s"])
    if row["resumed"]:
        waits.append(row["gap_s"])
    return max(waits) if waits else None


def per_second(moments, from_s, to_s):
    """The most that fell into one second of a span, in windows that begin at each."""
    inside = sorted(at_s for at_s in moments if from_s <= at_s < to_s)
    most = first = 0
    for last, at_s in enumerate(inside):
        while inside[first] <= at_s - 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most


def herds(rows, posts, returns, nodes):
    """After each return of a node, the busiest second of the node over the busiest of all callers' calls then.

    1 is all that callers ask for going to the node that is back, each call once; a herd is more than that (calls that
    waited for it and come at once) or a node that answers much later than it did.
    """
    arrivals = {node: [at_s for at_s, _, target, _ in posts if target == node] for node in nodes}
    calls = [row["began_s"] for row in rows]
    found = []
    for at_s, host, kind in returns:
        if host in arrivals:
            span = at_s, at_s + HERD_WINDOW_S
            asked = per_second(calls, *span)
            found.append({
                "at_s": at_s, "node": host, "kind": kind, "peak_per_s": per_second(arrivals[host], *span),
                "calls_peak_per_s": asked, "times": per_second(arrivals[host], *span) / max(1, asked),
            })  # fmt: skip
    return found


def figures_of(rows, posts, returns, nodes):
    """The figures of a run, flat."""
    failures = [row for row in rows if not row["ok"]]
    waits_s = [wait for row in rows if (wait := failover_s(row)) is not None]
    handed_on = sum(row.get("handed_on", 0) for row in rows)
    # What nodes tell each other and the origins are POSTs too: only those of callers count.
    asked = [post for post in posts if post[1].startswith("caller") and post[2] in nodes]
    found = herds(rows, asked, returns, nodes)
    ttfts_s = [row["ttft_s"] for row in rows if row["ok"] and row["kind"] == "embed"]
    return {
        "calls_count": len(rows),
        "failed_count": len(failures),
        "success_percent": round(100 * (1 - len(failures) / max(1, len(rows))), 4),
        "failovers_count": len(waits_s),
        "failover_p50_s": round(quantile(waits_s, 0.5), 3),
        "failover_p99_s": round(quantile(waits_s, 0.99), 3),
        "failover_max_s": round(max(waits_s, default=0.0), 3),
        "embed_p50_s": round(quantile(ttfts_s, 0.5), 3),
        "embed_p99_s": round(quantile(ttfts_s, 0.99), 3),
        "extra_requests_percent": round(100 * (len(asked) - handed_on - len(rows)) / max(1, len(rows)), 2),
        "handed_on_percent": round(100 * handed_on / max(1, len(rows)), 2),
        "resumed_count": sum(row.get("resumed", 0) for row in rows),
        "returns_count": len(found),
        "herd_p99_times": round(quantile([one["times"] for one in found], 0.99), 2),
        "herd_max_times": round(max((one["times"] for one in found), default=0.0), 2),
    }
