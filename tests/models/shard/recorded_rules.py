"""What each rule decides of some 2,200 nodes over shards, in rules.txt.

`python -m tests.models.shard.recorded_rules` records it. A case is a node with its inputs (notation.py); of it comes
what each shard gets of what, what is asked of the node where the split began, or `!` and why the node stays whole. With
`beside` before it: axis by axis of each constant, how data lies where the model's annotations tell of constants only.
"""

from __future__ import annotations

from pathlib import Path

from tests.models.shard.notation import said
from tests.recorded import Recorded

RECORDED = Recorded(Path(__file__).parent / "rules.txt", said)

if __name__ == "__main__":
    RECORDED.main()
