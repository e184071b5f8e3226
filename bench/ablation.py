"""The ablation: the sweep bench/ablation.toml.

python -m bench.ablation            # or make ablation; continues where it stopped
python -m bench.results             # writes docs/RESULTS.md from the stored records
"""

from __future__ import annotations

from bench.sweeps import Kept

ABLATION = Kept("ablation")

if __name__ == "__main__":
    raise SystemExit(ABLATION.main())
