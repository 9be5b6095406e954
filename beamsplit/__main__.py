"""`python -m beamsplit score ...` is `beamsplit score ...`."""

from __future__ import annotations

from beamsplit.pipelines.__main__ import main

if __name__ == "__main__":
    main()
