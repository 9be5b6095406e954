"""The order of units: what waits for what, and how little lies between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def components(edges: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Strongly connected components of a graph, by Tarjan's algorithm (1972), without recursion.

    A component comes after all those that its edges lead to.
    """
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    waiting: set[str] = set()
    found: list[list[str]] = []
    for root in edges:
        if root in number:
            continue
        work = [(root, 0)]
        while work:
            node, at = work.pop()
            if at == 0:
                number[node] = low[node] = len(number)
                stack.append(node)
                waiting.add(node)
            for position in range(at, len(edges[node])):
                other = edges[node][position]
                if other not in number:
                    work += [(node, position + 1), (other, 0)]
                    break
                if other in waiting:
                    low[node] = min(low[node], number[other])
            else:
                if low[node] == number[node]:
                    group: list[str] = []
                    while not group or group[-1] != node:
                        group.append(stack.pop())
                        waiting.discard(group[-1])
                    found.append(group)
                if work:
                    parent = work[-1][0]
                    low[parent] = min(low[parent], low[node])
    return found


_WINDOW = 32
"""Places that a unit is moved at most at a time."""

_PASSES = 4


def improve_order(
    reads: Sequence[Sequence[str]],
    makes: Sequence[Sequence[str]],
    sizes: Mapping[str, float],
    inputs: Sequence[str],
) -> list[int]:
    """Indices of the units in an order that respects what they read, with little alive between them.

    List scheduling: of the units that may come next, that after which the fewest bytes are alive (made and still
    to be read). The better of this and the given order, by the sum of bytes alive over all places, is then
    improved by moving single units while that lowers the sum. Deterministic.

    Args:
        reads: for each unit the tensors that it reads; units come in an order that respects this.
        makes: likewise those that it makes.
        sizes: bytes of each tensor.
        inputs: tensors alive from the start.
    """
    work = _Order(reads, makes, sizes, inputs)
    given = list(range(len(reads)))
    order = min((given, work.scheduled()), key=lambda order: sum(work.alive(order)))
    return work.improved(order)


class _Order:
    def __init__(
        self,
        reads: Sequence[Sequence[str]],
        makes: Sequence[Sequence[str]],
        sizes: Mapping[str, float],
        inputs: Sequence[str],
    ) -> None:
        self.reads = [tuple(dict.fromkeys(read)) for read in reads]
        self.sizes = sizes
        self.readers: dict[str, list[int]] = {}
        for unit, read in enumerate(self.reads):
            for name in read:
                self.readers.setdefault(name, []).append(unit)
        # What nobody reads (an output of the model) is carried on wherever it is made.
        self.makes = [tuple(name for name in made if name in self.readers) for made in makes]
        maker = {name: unit for unit, made in enumerate(makes) for name in made}
        self.waits = [{maker[name] for name in read if name in maker} - {u} for u, read in enumerate(self.reads)]
        self.made = [sum(sizes[name] for name in made) for made in self.makes]
        self.start = sum(sizes[name] for name in inputs if name in self.readers)

    def alive(self, order: Sequence[int]) -> list[float]:
        """Bytes alive after each place of the order."""
        left = {name: len(readers) for name, readers in self.readers.items()}
        now, found = self.start, []
        for unit in order:
            now += self.made[unit]
            for name in self.reads[unit]:
                left[name] -= 1
                if not left[name]:
                    now -= self.sizes[name]
            found.append(now)
        return found

    def scheduled(self) -> list[int]:
        left = {name: len(readers) for name, readers in self.readers.items()}
        waiting = [len(waits) for waits in self.waits]
        following: list[list[int]] = [[] for _ in self.reads]
        for unit, waits in enumerate(self.waits):
            for other in waits:
                following[other].append(unit)
        ready = [unit for unit, count in enumerate(waiting) if not count]
        order: list[int] = []
        while ready:

            def grows(unit: int) -> tuple[float, int]:
                freed = sum(self.sizes[name] for name in self.reads[unit] if left[name] == 1)
                return self.made[unit] - freed, unit

            unit = min(ready, key=grows)
            ready.remove(unit)
            order.append(unit)
            for name in self.reads[unit]:
                left[name] -= 1
            for other in following[unit]:
                waiting[other] -= 1
                if not waiting[other]:
                    ready.append(other)
        return order

    def improved(self, order: list[int]) -> list[int]:
        alive = self.alive(order)
        place = {unit: at for at, unit in enumerate(order)}

        def swap(at: int) -> float:
            """Exchange the units at `at` and the next place; how much more is then alive between them."""
            first, second = order[at], order[at + 1]
            before = alive[at - 1] if at else self.start
            freed = 0.0
            for name in self.reads[second]:
                if all(place[reader] < at or reader == second for reader in self.readers[name]):
                    freed += self.sizes[name]
            more = before + self.made[second] - freed - alive[at]
            alive[at] += more
            order[at], order[at + 1] = second, first
            place[first], place[second] = at + 1, at
            return more

        for _ in range(_PASSES):
            moved = False
            for unit in list(order):
                for step in (1, -1):
                    total = best = 0.0
                    done = kept = 0
                    while done < _WINDOW:
                        at = place[unit] if step == 1 else place[unit] - 1
                        if at < 0 or at + 1 >= len(order) or order[at] in self.waits[order[at + 1]]:
                            break
                        total += swap(at)
                        done += 1
                        if total < best - 1e-6:
                            best, kept = total, done
                    for _ in range(done - kept):
                        swap(place[unit] - 1 if step == 1 else place[unit])
                    moved |= kept > 0
            if not moved:
                break
        return order
