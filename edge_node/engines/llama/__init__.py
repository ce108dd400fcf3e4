"""The llama.cpp runtime: GGUF models, several generations at once in one context.

`library` loads, `vocabulary` turns text into tokens and back, `batch` decodes, `sampler` chooses;
`slots` decides which rows a step computes, `generation` is one answer in work, `engine` puts them together.
Only `library`, `vocabulary`, `batch` and `sampler` touch native code. Its functions abort the whole process on some
inputs; each of these files says how it never gives them one.
"""
