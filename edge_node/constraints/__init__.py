"""What an answer must look like, as a grammar: JSON, a JSON schema, a call of a tool. Pure.

`schema` turns a JSON schema into llama.cpp's GBNF: `keywords` says which words of JSON Schema there are, `references`,
`merging` and `disjoint` take `$ref`, `allOf` and `oneOf` away, `objects`, `arrays`, `texts`, `patterns`, `formats`,
`integers`, `decimals` and `literals` write the parts, in the terms of `expressions`, and `gbnf` prints them. `calls`
does it for tools, and `call_reader` reads their calls. What cannot be enforced is refused, with a JSON pointer to it.
"""
