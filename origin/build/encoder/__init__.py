"""Encoders learn: pruned, distilled, trained on the grid that they are served on. Needs torch."""
