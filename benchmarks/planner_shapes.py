"""Graphs of the kinds whose instances were published, and of others, of any size: networks as units, seconds and bytes.

Seconds are counted from multiplications and bytes touched, on a worker of 10 TFLOP/s with 600 GB/s of memory, and bytes
are seconds too, over a link of 10 GB/s (as in the instances of Tarnawski et al. 2020); `spread` draws each anew.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from beamsplit.models.split.balance import Problem, Value, Weight

FLOPS, MEMORY, LINK = 10e12, 600e9, 10e9
"""Multiplications and bytes a second of a worker, bytes a second between two."""


@dataclass
class Network:
    """A graph that is put together unit by unit; seconds and bytes in milliseconds."""

    draw: random.Random
    spread: float = 0.0
    """By how much seconds and bytes differ from those that were counted: 0.5 is up to half as much more or less."""

    seconds: list[float] = field(default_factory=list)
    nbytes: list[float] = field(default_factory=list)
    sizes: list[float] = field(default_factory=list)
    reads: list[tuple[int, ...]] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    def unit(self, reads: Sequence[int], flops: float, numbers: float, weight: float = 0.0) -> int:
        """Add a unit that reads others and makes so many numbers."""
        touched = 4 * (numbers + weight + sum(self.sizes[one] for one in set(reads)))
        self.seconds.append(1e3 * max(flops / FLOPS, touched / MEMORY) * self._differs())
        self.nbytes.append(1e3 * 4 * numbers / LINK * self._differs())
        self.sizes.append(numbers)
        self.reads.append(tuple(dict.fromkeys(reads)))
        self.weights.append(4 * weight)
        return len(self.seconds) - 1

    def run(self, read: int, count: int, numbers: float) -> int:
        """Units that work element by element, one after the other."""
        for _ in range(count):
            read = self.unit([read], numbers, numbers)
        return read

    def problem(self, links: str) -> Problem:
        """As the solver takes it."""
        users: list[list[int]] = [[] for _ in self.seconds]
        for unit, reads in enumerate(self.reads):
            for read in reads:
                users[read].append(unit)
        values = [
            Value(size, made, tuple(read))
            for made, (size, read) in enumerate(zip(self.nbytes, users, strict=True))
            if read
        ]
        weights = [Weight(size, (unit,)) for unit, size in enumerate(self.weights) if size]
        return Problem(tuple(self.seconds), tuple(values), tuple(weights), links=links)

    def _differs(self) -> float:
        return 1 + self.spread * (2 * self.draw.random() - 1)


def transformer(net: Network, layers: int, *, heads: int = 0, width: int = 1024, length: int = 512) -> None:
    """An encoder as its operators; with `heads` each head is a branch of its own. The mask is read by every layer."""
    numbers = width * length
    now = net.unit([], 0, numbers)
    mask = net.run(net.unit([], 0, length), 2, length)
    for _ in range(layers):
        now = norm(net, net.unit([attention(net, now, mask, heads, width, length), now], numbers, numbers), numbers)
        inner = net.unit([now], 4 * numbers * width, 4 * numbers, 4 * width**2)
        inner = net.unit([inner], 4 * numbers, 4 * numbers, 4 * width)
        cube = net.run(inner, 3, 4 * numbers)
        inner = net.unit([cube, inner], 4 * numbers, 4 * numbers)
        out = net.unit([inner], 4 * numbers * width, numbers, 4 * width**2)
        now = norm(net, net.unit([net.run(out, 1, numbers), now], numbers, numbers), numbers)
    net.unit([now], width**2, width, width**2)


def attention(net: Network, now: int, mask: int, heads: int, width: int, length: int) -> int:
    """Of one layer: queries, keys and values, their products, and what they give."""
    parts = []
    size = width * length / max(heads, 1)
    scores = length * length * (1 if heads else 16)
    for _ in range(max(heads, 1)):
        query, key, value = (
            net.run(net.unit([now], size * width, size, width**2 / max(heads, 1)), 1 if heads else 3, size)
            for _ in range(3)
        )
        product = net.run(net.unit([query, key], size * length, scores), 1, scores)
        product = net.run(net.unit([product, mask], scores, scores), 1, scores)
        parts.append(net.unit([product, value], size * length, size))
    return net.run(net.unit(parts, width**2 * length, width * length, width**2), 1, width * length)


def norm(net: Network, read: int, numbers: float) -> int:
    """A normalisation as its operators."""
    mean = net.unit([read], numbers, numbers / 1024)
    less = net.unit([read, mean], numbers, numbers)
    square = net.unit([less], numbers, numbers)
    root = net.run(net.unit([square], numbers, numbers / 1024), 2, numbers / 1024)
    return net.run(net.unit([less, root], numbers, numbers), 2, numbers)


def experts(net: Network, layers: int, count: int, *, width: int = 1024, length: int = 512) -> None:
    """Layers of attention, and of experts side by side."""
    numbers = width * length
    now = net.unit([], 0, numbers)
    mask = net.unit([], 0, length)
    for _ in range(layers):
        now = net.unit([attention(net, now, mask, 0, width, length), now], numbers, numbers)
        gate = net.run(net.unit([now], numbers * count, length * count, width * count), 2, length * count)
        parts = []
        for _ in range(count):
            chosen = net.unit([now, gate], 0, 2 * numbers / count)
            inner = net.unit([chosen], 8 * numbers * width / count, 8 * numbers / count, 4 * width**2)
            inner = net.run(inner, 1, 8 * numbers / count)
            parts.append(net.unit([inner], 8 * numbers * width / count, 2 * numbers / count, 4 * width**2))
        now = net.unit([net.unit([*parts, gate], 2 * numbers, numbers), now], numbers, numbers)
    net.unit([now], width**2, width, width**2)


def conv(net: Network, reads: Sequence[int], side: int, channels: int, kernel: int, inner: int) -> int:
    """A convolution over so many channels, its normalisation, and its activation."""
    numbers = 32 * side * side * channels
    made = net.unit(reads, numbers * kernel * inner, numbers, kernel * inner * channels)
    return net.run(made, 2, numbers)


def inception(net: Network, blocks: int) -> None:
    """Blocks of branches of convolutions, joined."""
    now = conv(net, [conv(net, [net.unit([], 0, 32 * 3 * 299 * 299)], 149, 32, 9, 3)], 73, 64, 9, 32)
    for block in range(blocks):
        side = (35, 17, 8)[min(2, 3 * block // blocks)]
        width = (64, 160, 320)[min(2, 3 * block // blocks)]
        last = 6 * width if block else 64
        branches = [conv(net, [now], side, width, 1, last)]
        short = conv(net, [now], side, width, 1, last)
        branches += [conv(net, [short], side, width, 3, width), conv(net, [short], side, width, 3, width)]
        long = conv(net, [conv(net, [now], side, width, 1, last)], side, width, 9, width)
        branches += [conv(net, [long], side, width, 3, width), conv(net, [long], side, width, 3, width)]
        pool = net.unit([now], 0, 32 * side * side * last)
        branches.append(conv(net, [pool], side, width, 1, last))
        now = net.unit(branches, 0, 32 * side * side * 6 * width)
    net.unit([net.unit([now], 0, 32 * 2048)], 32 * 2048 * 1000, 32 * 1000, 2048 * 1000)


def residual(net: Network, blocks: int) -> None:
    """Blocks of three convolutions beside a skip, as in ResNet-50 (16) and -101 (33)."""
    now = conv(net, [net.unit([], 0, 32 * 3 * 224 * 224)], 112, 64, 49, 3)
    last = 64
    for block in range(blocks):
        at = min(3, 4 * block // blocks)
        side, width = (56, 28, 14, 7)[at], 64 << at
        inner = conv(net, [conv(net, [now], side, width, 1, last)], side, width, 9, width)
        numbers = 32 * side * side * 4 * width
        out = net.unit([inner], numbers * width, numbers, 4 * width * width)
        skip = now if last == 4 * width else net.unit([now], numbers * last, numbers, 4 * last * width)
        now, last = net.run(net.unit([out, skip], numbers, numbers), 1, numbers), 4 * width
    net.unit([net.unit([now], 0, 32 * 2048)], 32 * 2048 * 1000, 32 * 1000, 2048 * 1000)


def dense(net: Network, blocks: Sequence[int]) -> None:
    """Blocks whose layers read all before them, as in DenseNet."""
    now = conv(net, [net.unit([], 0, 32 * 3 * 224 * 224)], 56, 64, 49, 3)
    channels = 64
    for at, layers in enumerate(blocks):
        side, made = 56 >> at, [now]
        for _ in range(layers):
            joined = net.unit(made, 0, 32 * side * side * channels)
            inner = conv(net, [net.run(joined, 2, 32 * side * side * channels)], side, 128, 1, channels)
            made.append(net.unit([inner], 32 * side * side * 32 * 9 * 128, 32 * side * side * 32, 9 * 128 * 32))
            channels += 32
        joined = net.unit(made, 0, 32 * side * side * channels)
        channels //= 2
        now = net.unit([conv(net, [joined], side, channels, 1, 2 * channels)], 0, 32 * side * side * channels / 4)
    net.unit([now], 32 * 1024 * 1000, 32 * 1000, 1024 * 1000)


def unet(net: Network, depth: int) -> None:
    """Down and up again, each way up beside what the same size gave on the way down."""
    now, skips = net.unit([], 0, 32 * 3 * 256 * 256), []
    for level in range(depth):
        side, width = 256 >> level, 32 << level
        for step in range(2):
            now = conv(net, [now], side, width, 9, width if step else max(3, width // 2))
        skips.append(now)
        now = net.unit([now], 0, 32 * side * side * width / 4)
    for level in reversed(range(depth)):
        side, width = 256 >> level, 32 << level
        now = net.unit([now], 32 * side * side * width * 8 * width, 32 * side * side * width, 8 * width * width)
        now = net.unit([now, skips[level]], 0, 2 * 32 * side * side * width)
        for step in range(2):
            now = conv(net, [now], side, width, 9, width * (2 - step))


def cells(net: Network, count: int) -> None:
    """Cells of five pairs of operators that read the two cells before, as in NASNet."""
    side, width = 28, 264
    numbers = 32 * side * side * width
    before = now = conv(net, [net.unit([], 0, 32 * 3 * 224 * 224)], side, width, 9, 3)
    for cell in range(count):
        side, width = (28, 14, 7)[min(2, 3 * cell // count)], (264, 528, 1056)[min(2, 3 * cell // count)]
        numbers = 32 * side * side * width
        left, right = (conv(net, [one], side, width, 1, 3 * width) for one in (now, before))
        sums: list[int] = []
        for pair in range(5):
            ends = []
            for one in (left if pair % 2 else right, sums[0] if pair == 4 else left):
                deep = net.unit([one], numbers * 25, numbers, 25 * width)
                ends.append(conv(net, [deep], side, width, 1, width))
            sums.append(net.unit(ends, numbers, numbers))
        before, now = now, net.unit([*sums, right], 0, 3 * numbers)
    net.unit([now], 32 * 1056 * 1000, 32 * 1000, 1056 * 1000)


def recurrent(net: Network, layers: int, steps: int, *, width: int = 1024) -> None:
    """A sequence to a sequence: layers over time steps, and attention from each step to the encoder's all."""

    def cell(reads: Sequence[int]) -> int:
        numbers = 64 * width
        gates = net.unit(reads, numbers * 8 * width, 4 * numbers, 8 * width * width)
        return net.unit([gates], numbers, numbers)

    now = [net.unit([], 0, 64 * width) for _ in range(steps)]
    states: list[int] = []
    for _ in range(layers):
        made: list[int] = []
        for step in range(steps):
            made.append(cell([now[step], *made[-1:]]))
        states.append(made[-1])
        now = made
    memory = net.unit(now, 0, 64 * width * steps)
    now = [net.unit([], 0, 64 * width) for _ in range(steps)]
    for layer in range(layers):
        made = []
        for step in range(steps):
            made.append(cell([now[step], made[-1] if made else states[layer]]))
        if layer == 0:
            made = [net.unit([one, memory], 64 * width * steps, 64 * width) for one in made]
        now = made
    for one in now:
        net.unit([one], 64 * width * 32000, 64 * 32000, width * 32000)


def translator(net: Network, layers: int, *, width: int = 1024) -> None:
    """The same with a unit a layer, both directions first, skips, and attention to each layer of the decoder (GNMT)."""
    numbers = 64 * 50 * width

    def layer(reads: Sequence[int], inner: int = 1) -> int:
        gates = net.unit(reads, numbers * 8 * width * inner, numbers, 8 * width * width * inner)
        return net.run(gates, 1, numbers)

    source, target = (net.unit([net.unit([], 0, 64 * 50)], 0, numbers, 32000 * width) for _ in range(2))
    now = net.unit([layer([source]), layer([net.unit([source], 0, numbers)])], 0, 2 * numbers)
    now = layer([now], 2)
    for _ in range(layers - 2):
        now = net.unit([layer([now]), now], numbers, numbers)
    first = layer([target])
    keys = net.unit([now], numbers * width, numbers, width * width)
    query = net.unit([first], numbers * width, numbers, width * width)
    scores = net.run(net.unit([keys, query], numbers * 50, 64 * 50 * 50), 1, 64 * 50 * 50)
    context = net.unit([scores, now], numbers * 50, numbers)
    out = layer([first, context], 2)
    for _ in range(layers - 2):
        out = net.unit([layer([out, context], 2), out], numbers, numbers)
    net.run(net.unit([out], numbers * 32000, 64 * 50 * 32000, 32000 * width), 1, 64 * 50 * 32000)


def backward(net: Network) -> None:
    """Add the way back: for each unit one that reads what it read and its readers' gradients; and one for weights."""
    count = len(net.seconds)
    users: list[list[int]] = [[] for _ in range(count)]
    for unit, reads in enumerate(net.reads):
        for read in reads:
            users[read].append(unit)
    gradient: dict[int, int] = {}
    for unit in reversed(range(count)):
        gradients = [gradient[one] for one in users[unit]] or [unit]
        flops = net.seconds[unit] * FLOPS / 1e3
        gradient[unit] = net.unit([*gradients, *net.reads[unit]], flops, net.sizes[unit])
        if net.weights[unit]:
            net.unit([*gradients, *net.reads[unit]], flops, net.weights[unit] / 4)


def trained(net: Network, make: Callable[[Network, int], None], size: int) -> None:
    """A network and its way back."""
    make(net, size)
    backward(net)


def layered(net: Network, units: int, width: int, reach: int) -> None:
    """Each unit reads one to three at random of those that lie up to `reach` layers of `width` before."""
    for unit in range(units):
        layer = unit // width
        earlier = range(max(0, layer - reach) * width, layer * width)
        reads = net.draw.sample(earlier, min(len(earlier), net.draw.randint(1, 3)))
        net.unit(reads, FLOPS * net.draw.expovariate(1.0) / 1e3, LINK / 4e3 * net.draw.choice([0.01, 0.1, 0.3, 1.0]))


SHAPES: dict[str, Callable[[Network], None]] = {
    "bert, 4 layers": lambda net: transformer(net, 4),
    "bert, 12 layers": lambda net: transformer(net, 12),
    "bert, 24 layers": lambda net: transformer(net, 24),
    "bert, 3 layers of 12 heads": lambda net: transformer(net, 3, heads=12, width=768),
    "bert, 8 layers of 12 heads": lambda net: transformer(net, 8, heads=12, width=768),
    "inception, 11 blocks": lambda net: inception(net, 11),
    "inception, 24 blocks": lambda net: inception(net, 24),
    "resnet-101": lambda net: residual(net, 33),
    "densenet-121": lambda net: dense(net, (6, 12, 24, 16)),
    "unet, 6 levels": lambda net: unet(net, 6),
    "nasnet, 12 cells": lambda net: cells(net, 12),
    "gnmt, 8 layers": lambda net: translator(net, 8),
    "gnmt, 16 layers": lambda net: translator(net, 16),
    "lstm, 4 layers, 20 steps": lambda net: recurrent(net, 4, 20),
    "lstm, 8 layers, 24 steps": lambda net: recurrent(net, 8, 24),
    "experts, 4 layers of 8": lambda net: experts(net, 4, 8),
    "experts, 8 layers of 16": lambda net: experts(net, 8, 16),
    "gnmt, trained": lambda net: trained(net, translator, 8),
    "resnet-50, trained": lambda net: trained(net, residual, 16),
    "bert, 4 layers, trained": lambda net: trained(net, transformer, 4),
    "inception, 6 blocks, trained": lambda net: trained(net, inception, 6),
    "layered, 200": lambda net: layered(net, 200, 8, 2),
    "layered, 800": lambda net: layered(net, 800, 8, 2),
}
