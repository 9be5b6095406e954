"""Which of several candidates is chosen, and what is said of it; the candidates are given, not predicted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from beamsplit.models.cost.cluster import PROCESS_BYTES, ClusterWorker
from beamsplit.models.errors import UsageError
from beamsplit.models.strategy import choose as module
from beamsplit.models.strategy.candidate import Candidate, Pod
from beamsplit.models.strategy.choose import LeftOut, Strategy, choose

ROWS, MB = 8, 10**6


def way(
    stages: int, shards: int, rate: float, *, needs: float = 0.0, workers: int = 4, held: float = 3 * MB
) -> Candidate:
    """A candidate; one that needs memory does not fit."""
    one = SimpleNamespace(teams=(None,))
    pods = () if needs else (Pod(1, (one,) * stages),)  # type: ignore[arg-type]
    return Candidate(stages, shards, pods, rate, held, workers, needs)


def chosen(monkeypatch: pytest.MonkeyPatch, every: Sequence[Candidate], count: int = 4, **asked: Any) -> Strategy:
    """The choice among these, of a model that takes two seconds."""
    whole = SimpleNamespace(
        profile=SimpleNamespace(rows=ROWS, source="measured"),
        graph=SimpleNamespace(most_stages=9),
        problem=lambda bandwidth, links: SimpleNamespace(seconds=(0.5, 1.5)),
    )
    monkeypatch.setattr(module, "candidates", lambda *_: list(every))
    memory = asked.pop("memory", math.inf)
    workers = [ClusterWorker(f"w{at}", speed=2.0 if at == 0 else 1.0, memory_bytes=memory) for at in range(count)]
    return choose([whole], workers, **asked)  # type: ignore[list-item]


def at(strategy: Strategy) -> tuple[int, int]:
    return strategy.chosen.stages, strategy.chosen.shards


@pytest.mark.parametrize(
    ("ways", "expected", "said"),
    [
        # Within three in a hundred the simpler one is taken: fewer shards, then fewer stages.
        ([(1, 1, 100.0), (2, 1, 103.0)], (1, 1), "1 replica of the whole model: 100 rows/s predicted, at most 3 MB "
         "in a worker; as fast as, and simpler than, 2 stages."),
        ([(1, 1, 100.0), (2, 1, 103.1)], (2, 1), "2 stages: 103 rows/s predicted, at most 3 MB in a worker; "
         "1.03x as fast as 1 replica of the whole model."),
        ([(1, 2, 100.0), (3, 1, 100.0), (2, 1, 98.0)], (2, 1), "as fast as, and simpler than, 2 shards."),
        ([(1, 2, 50.0), (2, 2, 100.0)], (2, 2), "2x as fast as 2 shards."),
        ([(2, 1, 100.0), (3, 1, 50.0)], (2, 1), "nothing else fits."),
        ([(2, 1, 100.0)], (2, 1), "there is no other way."),
    ],
)  # fmt: skip
def test_the_fastest_or_one_as_fast_and_simpler(
    monkeypatch: pytest.MonkeyPatch, ways: list[tuple[int, int, float]], expected: tuple[int, int], said: str
):
    strategy = chosen(monkeypatch, [way(*one) for one in ways])
    assert at(strategy) == expected and strategy.verdict.endswith(said)
    assert strategy.candidates[0] is strategy.chosen and len(strategy.candidates) == len(ways)
    rates = [one.rows_per_second for one in strategy.candidates[1:]]
    assert rates == sorted(rates, reverse=True)


def test_what_does_not_fit_comes_last_and_is_told_of_the_whole_model(monkeypatch: pytest.MonkeyPatch):
    strategy = chosen(monkeypatch, [way(1, 1, 0.0, needs=9 * MB), way(2, 1, 5.0, workers=3), way(1, 2, 4.0)])
    assert [one.kind for one in strategy.candidates] == ["stages", "shards", "replicas"]
    assert strategy.verdict == (
        "2 stages: 5 rows/s predicted, at most 3 MB in a worker, 1 of 4 workers idle; "
        "no worker holds the whole model (9 MB)."
    )


@pytest.mark.parametrize(("cores", "bound"), [(None, 20.0), (4, 20.0), (2, 10.0), (8, 20.0)])
def test_no_way_passes_the_bound(monkeypatch: pytest.MonkeyPatch, cores: int | None, bound: float):
    """Five times the speed of one for two seconds of work: 8 rows in 0.4 s."""
    strategy = chosen(monkeypatch, [way(1, 1, 5.0, workers=2)], cores=cores)
    assert strategy.bound == pytest.approx(bound) and strategy.gap == pytest.approx(bound / 5 - 1)
    assert chosen(monkeypatch, [way(1, 1, 50.0, workers=2)]).bound == 50.0


def test_workers_that_are_more_than_their_cores_take_turns(monkeypatch: pytest.MonkeyPatch):
    asked = []

    def simulate(one: Candidate, rows: int, cores: int) -> Any:
        asked.append((one.workers, rows, cores))
        return SimpleNamespace(rows_per_second=1.0)

    monkeypatch.setattr(module, "simulate", simulate)
    ways = [way(1, 1, 9.0, workers=2), way(2, 1, 99.0, workers=3), way(1, 2, 0.0, needs=MB, workers=9)]
    strategy = chosen(monkeypatch, ways, cores=2)
    assert asked == [(3, ROWS, 2)] and at(strategy) == (1, 1)
    assert [one.rows_per_second for one in strategy.candidates] == [9.0, 1.0, 0.0]


def test_the_best_of_each_kind_is_measured(monkeypatch: pytest.MonkeyPatch):
    seen: list[Candidate] = []

    def measure(found: Sequence[Candidate]) -> list[float | LeftOut | None]:
        seen.extend(found)
        return [{"replicas": 2.0, "stages": 8.0}.get(one.kind) for one in found]

    ways = [way(1, 1, 7.0), way(2, 1, 5.0), way(3, 1, 6.0), way(4, 1, 6.0), way(1, 2, 1.0), way(1, 4, 0.0, needs=MB)]
    strategy = chosen(monkeypatch, ways, measure=measure)
    assert [(one.stages, one.shards) for one in seen] == [(1, 1), (3, 1), (1, 2)], "of those alike the first"
    assert at(strategy) == (3, 1) and "8 rows/s measured" in strategy.verdict
    assert [one.measured for one in strategy.candidates if one.kind == "shards"] == [None, None]


def test_what_failed_is_left_out_with_all_that_divide_the_model_alike(monkeypatch: pytest.MonkeyPatch):
    ways = [way(1, 1, 7.0), way(2, 1, 9.0, workers=2), way(2, 1, 8.0, workers=4), way(2, 2, 5.0)]
    failed = {"stages": LeftOut("other numbers"), "stages x shards": LeftOut("no"), "replicas": LeftOut("slow")}
    strategy = chosen(
        monkeypatch, [*ways[1:], way(1, 2, 1.0)], measure=lambda found: [failed.get(one.kind) for one in found]
    )
    assert at(strategy) == (1, 2)
    assert strategy.notes == ("2 stages left out: other numbers", "2 stages x 2 shards left out: no")
    with pytest.raises(UsageError, match=r"^--strategy auto: there is no way to run this model on 1 worker: use"):
        chosen(monkeypatch, ways[:1], 1, measure=lambda found: [failed[one.kind] for one in found])


@pytest.mark.parametrize(
    ("kind", "expected"), [("replicas", (1, 1)), ("stages", (2, 2)), ("shards", (2, 2)), ("auto", (2, 2))]
)
def test_a_kind_takes_both_at_once_too(monkeypatch: pytest.MonkeyPatch, kind: str, expected: tuple[int, int]):
    ways = [way(1, 1, 1.0), way(2, 1, 2.0), way(1, 2, 3.0), way(2, 2, 9.0)]
    assert at(chosen(monkeypatch, ways, kind=kind)) == expected
    with pytest.raises(
        UsageError, match=r"no way with replicas to run this model on 2 workers: use --strategy auto, or"
    ):
        chosen(monkeypatch, ways[1:], 2, kind="replicas")


def test_the_least_memory_is_told_where_nothing_fits(monkeypatch: pytest.MonkeyPatch):
    ways = [way(1, 1, 0.0, needs=9 * MB), way(2, 2, 0.0, needs=4 * MB), way(1, 3, 0.0, needs=5 * MB)]
    with pytest.raises(UsageError) as told:
        chosen(monkeypatch, ways, memory=3.5 * MB)
    process = (4 * MB + PROCESS_BYTES) / MB
    assert str(told.value) == (
        "no way to run this model fits workers of 3.5 MB: the least is 4 MB in each of 4 workers (2 stages x 2 "
        f"shards), {process:.0f} MB with the process itself: give --stage_memory 4MB, or that much with the process in "
        "cluster.json, more workers or a smaller --micro_batch"
    )
    with pytest.raises(UsageError, match=r"^no way with replicas to run .* in each of 1 workers \(the whole model\)"):
        chosen(monkeypatch, ways, memory=0.0, kind="replicas")
