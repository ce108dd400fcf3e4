"""This machine as a node: what is put where, the release that runs, and the way back."""
