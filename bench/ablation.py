"""The ablation: the sweep bench/ablation.toml.

python -m bench.ablation            # or make ablation; goes on where it stopped
python -m bench.results             # docs/RESULTS.md from what is stored
"""

from __future__ import annotations

from bench.sweeps import Kept

ABLATION = Kept("ablation")

if __name__ == "__main__":
    raise SystemExit(ABLATION.main())
