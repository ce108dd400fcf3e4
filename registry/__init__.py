"""What a release is: its manifest, chunks and packs; how it is published, fetched and verified.

This package is the bottom of the tree. It also owns the four plain tools that every process uses:
`errors`, `wire`, `settings` and `log`. Nothing is imported here, so a process pays only for what it uses.
"""
