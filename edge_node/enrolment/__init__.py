"""How a node comes to belong to a fleet: its key, its certificate, and the origin that it may trust."""
