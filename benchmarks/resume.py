"""Jobs that resume: killed at random moments, each ends with the output of one that was not; and what keeping costs.

python -m benchmarks.resume kills --count 50 --seed 0
python -m benchmarks.resume cost --rows 5000000 --runs 5
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.resume_cost import compare
from benchmarks.resume_kills import kill_all


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(dest="what", required=True)
    kills = what.add_parser("kills", help="kill -9 of commands and of workers")
    kills.add_argument("--count", type=int, default=50)
    kills.add_argument("--seed", type=int, default=0)
    cost = what.add_parser("cost", help="CPU seconds with and without --resume, in turn")
    cost.add_argument("--rows", type=int, default=5_000_000)
    cost.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="beamsplit-resume-") as folder:
        if given.what == "kills":
            kill_all(Path(folder), given.count, given.seed)
        else:
            compare(Path(folder), given.rows, given.runs)


if __name__ == "__main__":
    main()
