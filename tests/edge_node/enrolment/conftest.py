"""A running origin with a door for nodes."""

from tests.fleet_origin import fleet_origin, machine, wall_clock  # noqa: F401  # fixtures of every test here
