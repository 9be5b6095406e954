"""Where splits must be cut for the nodes behind them: found while a graph is walked, and kept for the next walk."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from beamsplit.models.shard.placement import NeedsGranule, NeedsParts, Sharded, cut_evenly


@dataclass
class Cutting:
    """What nodes at which splits begin are asked for, by name."""

    granules: dict[str, int] = field(default_factory=dict)
    """They cut at multiples of it; in parts, of the places of these."""

    parts: dict[str, tuple[tuple[int, ...], int]] = field(default_factory=dict)
    """(lengths of the parts, places at which each may be cut) of nodes whose result is cut in several parts."""

    barred: dict[str, str] = field(default_factory=dict)
    """Why no split begins there."""

    def settle(self, need: NeedsGranule | NeedsParts) -> None:
        """Cut the origins of a split as a later node needs it, or not at all where they are cut so already."""
        for origin in need.origins:
            name = origin.node
            if isinstance(need, NeedsParts):
                self.parts[name] = need.sizes, need.places
                continue
            known = self.granules.get(name, 1)
            wanted = int(np.lcm(known, need.granule // np.gcd(need.granule, origin.each)))
            if wanted == known:
                self.barred[name] = f"its slices cannot be used by the layers behind it ({need})"
            self.granules[name] = wanted

    def clear(self) -> None:
        """Forget everything."""
        for known in (self.granules, self.parts, self.barred):
            known.clear()

    def granule(self, split: Sharded) -> int:
        """Of whose multiples the slices of a split are."""
        return int(np.lcm.reduce([self.granules.get(one.node, 1) * one.each for one in split.origins] or [1]))

    def in_parts(self, name: str, shards: int) -> tuple[tuple[int, ...], ...]:
        """Lengths of the slices of each part of what a node makes; empty where it is not to be cut so, or cannot be."""
        if name not in self.parts:
            return ()
        sizes, places = self.parts[name]
        cut = cut_evenly(places, shards, self.granules.get(name, 1))
        return () if cut is None else tuple(tuple(size // places * count for count in cut) for size in sizes)
