"""Attacks, one module each. A module has

    NEEDS: "gradients" | "scores" | "labels"   what it asks of the oracle; all but "gradients" are black box
    SETTINGS: tuple[str, ...]                  the keys of AttackConfig that it uses besides eps and norm
    NORMS: tuple[str, ...]                     of the budgets it works in
    ANSWERS: int = 1                           asked for by each step, for the time left
    run(trial: Trial, config: AttackConfig) -> None
                                               searches; what it finds, the trial records

An attack knows neither the network nor the data set: `robustness/trial.py` is all that it sees, and holds its eps, the
input range and the lattice. Names with an underscore help.
"""
