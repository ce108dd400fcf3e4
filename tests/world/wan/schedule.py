"""What breaks when, from a seed: pure, so that a run can be drawn again and looked at before it is made.

Nodes break one by one and in storms (all but one at once), origins one by one and all together, the hub that origins
share over for itself. One node at least is well at every moment, where well means that nothing was done to it since
`RECOVERY_S` before: the claim under test holds while one healthy node exists.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

RECOVERY_S = {"kill": 30.0}
"""How long a node is not counted as well after a fault ended; a process that was killed starts and loads models."""
OTHER_RECOVERY_S = 3.0

NODE_FAULTS = ("kill", "dark", "hang", "crawl", "thin", "lossy", "flap", "astray")
"""Killed; black-holed; stopped; stopped four fifths of the time; a thin line; packets lost; black-holed again and
again; cut off from all origins alone."""
ORIGIN_FAULTS = ("kill", "dark", "hang", "flap", "half")
"""As for nodes; `half`: cut off from every other node and client."""


@dataclass(frozen=True)
class Fault:
    """`kind` befalls all of `hosts` for `length_s` seconds, `at_s` after the start."""

    at_s: float
    kind: str
    hosts: tuple[str, ...]
    length_s: float

    @property
    def well_again_s(self):
        return self.at_s + self.length_s + RECOVERY_S.get(self.kind, OTHER_RECOVERY_S)


def draw(seed, *, length_s, nodes, origins, hub=None, calm_s=8.0):
    """The faults of a run in their order; none begins in the first `calm_s` or lasts into the last."""
    chance = random.Random(seed)
    found = []
    last_s = length_s - calm_s
    for at_s, kind in _node_moments(chance, calm_s, last_s):
        length = chance.uniform(4, 16)
        if at_s + length > last_s:
            continue
        if kind == "storm":
            struck = chance.sample(nodes, len(nodes) - 1)
            faults = [
                Fault(at_s, chance.choice(("kill", "dark", "hang")), (node,), length) for node in struck
            ]
        else:
            faults = [Fault(at_s, kind, (chance.choice(nodes),), length)]
        for fault in faults:
            if _may(fault, found, nodes):
                found.append(fault)
    found += _of_origins(chance, calm_s, last_s, origins, hub)
    return tuple(sorted(found, key=lambda fault: fault.at_s))


def _node_moments(chance, from_s, to_s):
    at_s = from_s
    while at_s < to_s:
        yield at_s, ("storm" if chance.random() < 0.06 else chance.choice(NODE_FAULTS))
        at_s += chance.expovariate(1 / 7) + 0.5


def _of_origins(chance, from_s, to_s, origins, hub):
    at_s = from_s + chance.uniform(0, 10)
    while True:
        length = chance.uniform(5, 25)
        if at_s + length > to_s:
            return
        pick = chance.random()
        if pick < 0.25:
            yield Fault(at_s, chance.choice(("kill", "dark")), tuple(origins), length)
        elif pick < 0.4 and hub:
            yield Fault(at_s, chance.choice(("kill", "dark")), (hub,), length)
        else:
            yield Fault(at_s, chance.choice(ORIGIN_FAULTS), (chance.choice(origins),), length)
        at_s += length + chance.uniform(5, 25)


def _may(fault, found, nodes):
    """Whether one other node is well for as long as this fault is felt, and the host is not broken already."""
    felt = [one for one in found if one.at_s < fault.well_again_s and fault.at_s < one.well_again_s]
    unwell = {host for one in felt for host in one.hosts}
    return not unwell & set(fault.hosts) and len(unwell | set(fault.hosts)) < len(nodes)
