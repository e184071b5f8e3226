"""Data sets: each module has DESCRIPTION and `load(root, *, cache, progress) -> Dataset`; an underscore: a helper."""
