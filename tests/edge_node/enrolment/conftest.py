"""A running origin with a door for nodes."""

import pytest

from tests.fleet_origin import FleetOrigin, Machine, WallClock


@pytest.fixture
def wall_clock():
    return WallClock()


@pytest.fixture
def machine():
    return Machine()


@pytest.fixture
async def fleet_origin(tmp_path, wall_clock):
    made = FleetOrigin(tmp_path / "keys", tmp_path / "origin", clock=wall_clock)
    async with made.running() as running:
        yield running
