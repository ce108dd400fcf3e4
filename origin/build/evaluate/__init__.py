"""Evaluation: how near a built model is to the one that it comes from, how large it is, and how fast."""
