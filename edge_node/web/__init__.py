"""The HTTP front of a node, one file for each resource; `server` puts them under their URLs."""
