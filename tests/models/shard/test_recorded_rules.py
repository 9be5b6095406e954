"""Whether a decision is right is tried beside the whole model, in the other files; here, that none changes unseen."""

from __future__ import annotations

from beamsplit.models.shard.rules import RULES, rule_of, trees
from tests.models.shard.notation import Case
from tests.models.shard.recorded_rules import RECORDED
from tests.recorded import expanded


def test_each_rule_decides_what_was_recorded() -> None:
    assert RECORDED.changed() == []


def test_each_rule_has_a_case() -> None:
    nodes = [Case(line.removeprefix("beside ")).node for pattern in RECORDED.patterns() for line in expanded(pattern)]
    tried = {rule.decide for rule in map(rule_of, nodes) if rule is not None}
    # An ensemble of trees is a long list of attributes: test_ensembles.py has some.
    assert {rule.decide for rule in RULES.values()} - tried == {rule.decide for rule in trees.RULES.values()}
