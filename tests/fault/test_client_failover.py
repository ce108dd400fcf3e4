"""Requests go on while nodes are killed, hung, darkened, slowed and made to fail, and the origin comes and goes."""

from __future__ import annotations

import pytest

from tests.edge_node.client.chaos import chaos

pytestmark = pytest.mark.fault

LENGTH_S = 20.0


@pytest.mark.parametrize("seed", [1, 8, 11, 12])
@pytest.mark.parametrize("origin_goes", [False, True])
async def test_no_request_is_lost_while_one_node_is_well(seed, origin_goes):
    tally = await chaos(seed, length_s=LENGTH_S, origin_goes=origin_goes)
    assert tally.calls_count > 500
    assert tally.faults_count > 5
    assert tally.failures == []
    assert tally.extra_share <= 0.10
    assert tally.quantile_s(0.99) <= 2.0


@pytest.mark.parametrize("fault", ["down", "dark", "hang"])
async def test_one_kind_of_death(fault):
    tally = await chaos(3, length_s=LENGTH_S, nodes_count=4, faults=(fault,))
    assert tally.failures == []
    assert tally.failovers_s
    assert tally.quantile_s(0.99) <= 2.0
