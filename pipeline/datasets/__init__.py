"""Data sets: `load(root, *, cache, progress) -> Dataset` and DESCRIPTION in each module; names with an underscore help."""
