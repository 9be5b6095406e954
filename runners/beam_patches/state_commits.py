"""State of many keys written in one turn: importing this module has Beam send all before it waits for any answer.

At a bundle's end Beam writes what it changed state by state, and waits for the runner's answer to each before it
sends the next. A bundle of K keys so waits K turns to the runner and back, in which nobody has anything to do. Here it
sends all first: the runner takes requests of a worker in the order in which they come, as it does for one state, whose
clearing Beam does not wait for either.

Beam: no issue yet. To be reported: `FnApiUserStateContext.commit` should gather the answers, as sets of its own do.
"""

from __future__ import annotations

from typing import Any

from apache_beam.runners.worker.bundle_processor import FnApiUserStateContext, SynchronousBagRuntimeState

commit_of_beam = FnApiUserStateContext.commit


def commit_together(context: FnApiUserStateContext) -> None:
    """`FnApiUserStateContext.commit`; answers to bags are waited for when all are sent.

    Raises:
        RuntimeError: the runner could not write one of them.
    """
    sent: list[Any] = []
    for state in context._all_states.values():
        if type(state) is SynchronousBagRuntimeState:
            sent += _sent(state)
        else:
            state.commit()
    for answer in sent:
        answer.get()


def _sent(state: SynchronousBagRuntimeState) -> list[Any]:
    """What `SynchronousBagRuntimeState.commit` sends; the answer to it that comes last."""
    answers = []
    if state._cleared:
        answers.append(state._state_handler.clear(state._state_key))
    if state._added_elements:
        answers.append(
            state._state_handler.extend(state._state_key, state._value_coder.get_impl(), state._added_elements)
        )
    return answers[-1:]


FnApiUserStateContext.commit = commit_together  # type: ignore[assignment, method-assign]
