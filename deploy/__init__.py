"""How Edgeward gets onto machines: the command, the local network behind `up` and `demo`, set-up. Nothing is imported here."""
