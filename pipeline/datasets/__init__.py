"""Data sets: each module has DESCRIPTION and `load(root, *, cache, progress) -> Dataset`; names with an underscore help."""
