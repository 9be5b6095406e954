"""Networks of the kinds that others published, small enough for all of their down-sets to be looked at as well."""

from __future__ import annotations

import random

import pytest

pytest.importorskip("scipy")

import beamsplit.models.split.balance as solver
from beamsplit.models.split.balance import Worker, balance
from beamsplit.models.split.certified import certified
from benchmarks.planner_shapes import Network, experts, inception, recurrent, residual, trained, transformer

SMALL = {
    "heads": lambda net: transformer(net, 1, heads=2),
    "branches": lambda net: inception(net, 1),
    "time steps": lambda net: recurrent(net, 2, 3),
    "experts": lambda net: experts(net, 1, 3),
    "training": lambda net: trained(net, residual, 1),
}


@pytest.mark.parametrize(("name", "links"), [*((name, "direct") for name in SMALL), ("heads", "chain")])
def test_the_gap_is_small_without_looking_at_all_down_sets(name, links, monkeypatch):
    network = Network(random.Random(5), 0.3)
    SMALL[name](network)
    problem, workers = network.problem(links), [Worker(bandwidth=1.0)] * 3
    best = balance(problem, workers)
    assert best.optimal
    for limit in [one for one in vars(solver) if one.startswith("MOST_IDEALS")]:
        monkeypatch.setattr(solver, limit, 5)
    found = certified(problem, workers, seconds=60.0)
    assert found.lower_bound <= best.period * (1 + 1e-9) <= found.period * (1 + 2e-9)
    assert found.gap <= 0.01
