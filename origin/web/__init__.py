"""The origin's answers over HTTP, one file for each subject; `origin.server` says which URL leads where."""
