"""Exact answers kept: which requests, under what key, for how long, and one computation for all who ask at once.

`terms` (RFC 9111 directives), `keys` and `eviction` are pure; `answers` is the store, `flights` the single flight.
"""
