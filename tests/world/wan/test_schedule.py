"""The plan of faults: the same from the same seed, and never without a well node."""

from __future__ import annotations

import pytest

from tests.world.wan.schedule import NODE_FAULTS, ORIGIN_FAULTS, draw

NODES, ORIGINS = ("n1", "n2", "n3", "n4", "n5"), ("o1", "o2")


@pytest.mark.parametrize("seed", range(30))
def test_one_node_is_always_well(seed):
    faults = draw(seed, length_s=1800, nodes=NODES, origins=ORIGINS, hub="hub")
    assert faults == draw(seed, length_s=1800, nodes=NODES, origins=ORIGINS, hub="hub")
    of_nodes = [fault for fault in faults if fault.hosts[0] in NODES]
    for moment in sorted(fault.at_s for fault in of_nodes):
        unwell = [f.hosts[0] for f in of_nodes if f.at_s <= moment < f.well_again_s]
        assert len(unwell) == len(set(unwell)) < len(NODES), moment
    assert {fault.kind for fault in faults} >= {*NODE_FAULTS, *ORIGIN_FAULTS}
    assert any(fault.hosts == ORIGINS for fault in faults), "all origins are gone at times"
    assert all(f.at_s >= 8 and f.at_s + f.length_s <= 1792 for f in faults)
