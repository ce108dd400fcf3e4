"""The centre: what it knows of the fleet and the releases, and what it decides.

Other packages see only `origin.api` (the messages), `origin.client` (the one way to call an origin) and
`origin.errors`. Nothing is imported here.
"""
