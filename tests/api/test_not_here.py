from __future__ import annotations

from dataclasses import fields

import pytest

import beamsplit as bs
from beamsplit.pipelines.api.model_options import NAMES
from beamsplit.pipelines.api.not_here import OF_GROUPS, OF_OPTIONS, why_not
from beamsplit.pipelines.options.values import SCORE_GROUPS, option_of
from tests.api.conftest import Mlp

OPTIONS = {option_of(group, one.name): group for group, kind in SCORE_GROUPS.items() for one in fields(kind)}


@pytest.mark.parametrize("option", OPTIONS)
def test_each_option_of_the_command_is_an_argument_or_it_is_said_why_not(option: str):
    assert option in NAMES or why_not(option), f"{option}: an argument in ModelOptions, or a reason in not_here.py"


def test_no_reason_is_of_another_time():
    assert set(OF_OPTIONS) <= set(OPTIONS) and not set(OF_OPTIONS) & set(NAMES)
    assert set(OF_GROUPS) <= set(SCORE_GROUPS)
    assert all(OPTIONS[option] not in OF_GROUPS for option in OF_OPTIONS)


def test_it_is_told(mlp: Mlp):
    for kind in (bs.Score, bs.Scorer, bs.OnnxModelHandler):
        with pytest.raises(
            bs.UsageError, match=r"has no argument 'strategy', which the command and bs.score have: work"
        ):
            kind(mlp.path, strategy="auto")  # type: ignore[call-arg]
