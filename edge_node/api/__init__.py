"""The OpenAI-compatible messages of a node.

What clients ask (`requests`, `refusals`), what they hear (`replies`, told by `shapes`), and `health`.
"""
