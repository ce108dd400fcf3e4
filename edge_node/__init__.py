"""The edge: how a request is answered near its user. Nothing is imported here."""
