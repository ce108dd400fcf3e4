"""How Edgeward gets onto machines: the command, the local network, set-up.

Nothing is imported here.
"""
