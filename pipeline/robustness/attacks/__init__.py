"""Attacks: `run(classifier, x, y, config, eps, seed) -> x_adv` in each module; names with an underscore help."""
