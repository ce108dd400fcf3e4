"""The DNS door: names of models, answered with the addresses of the nodes that should serve them."""
