"""Who belongs to the fleet: its certificate authority, join tokens, the nodes that were let in and turned out."""
