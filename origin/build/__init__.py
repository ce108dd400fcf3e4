"""Model builds: steps from a source model to a candidate release. Nothing is imported here."""
