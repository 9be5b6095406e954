"""Small problems of all kinds."""

from __future__ import annotations

from beamsplit.models.split.balance import Problem, Value, Weight


def small(draw, crosses=1.0):
    units = draw.randint(2, 7)
    values = []
    for unit in range(-1, units - 1):
        for _ in range(draw.randint(0, 2)):
            users = tuple(sorted(draw.sample(range(unit + 1, units), min(units - unit - 1, draw.randint(1, 2)))))
            nbytes = draw.choice([0, 1, 2, 0.3])
            values.append(Value(nbytes, unit, users, draw.random() < 0.2, draw.random() < crosses))
    values.append(Value(1.0, units - 1, (), True))
    weights = [
        Weight(draw.choice([1, 2]), tuple(draw.sample(range(units), min(units, draw.randint(1, 2))))) for _ in range(4)
    ]
    seconds = tuple(draw.choice([0, 1, 2, 3, 0.5]) for _ in range(units))
    activations = tuple(draw.choice([0, 1, 2]) for _ in range(units))
    return Problem(seconds, tuple(values), tuple(weights), activations, draw.choice(["chain", "direct"]))
