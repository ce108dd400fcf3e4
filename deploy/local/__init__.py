"""The whole network on one machine, of real parts: what `edgeward up` and `edgeward demo` start.

Nothing is imported here.
"""
