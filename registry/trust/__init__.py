"""Trust: which releases exist and where channels point, said in signed metadata (The Update Framework).

`statements` is what is said, `verification` decides what to believe, `reader` and `publisher` do the reading and
writing, `keys` and `ceremony` hold and replace the keys; `signed_store` is a store together with all of that. README.md
has the roles, the attacks and the procedures. Nothing is imported here.
"""
