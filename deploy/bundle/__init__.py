"""Bundles: one release of Edgeward with all that it needs but Python, signed, as origins serve them to machines."""
