"""Gives the steps in front of what a stream reads workers of their own, so that every other worker reads.

Beam's Flink runner deals executable stages to worker processes in turn, whatever stage each is of. A stream has two of
them a task: one makes the parts that are to be read, once and in no time, the other reads them for as long as the
stream lasts. Of 2 tasks the four come in any order, and with 2 processes both that read may get the same one:

    turn      1         2         3         4
    stage     parts     reading   parts     reading
    process   0         1         0         1               one has nothing to do

Workers are asked for by environment and turn. With turns enough each stage has a worker of its own, and one that makes
parts, whose environment says so, needs no process: the pool runs it as a thread.

A shard of a model runs in as many stages as it has parts, and has asked for memory for one process: where resource
hints set an environment apart that runs in several stages, turns stay as they are.

Beam: none yet. To be reported: `DefaultJobBundleFactory` should deal the tasks of each stage evenly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2 as api

from beamsplit.runners.beam_patches.thread_worker import PARTS


def set_parts_apart(pipeline: api.Pipeline) -> int:
    """Give what makes the parts of a pipeline's sources an environment of its own; gives turns enough for a task.

    Sources are splittable DoFns behind an Impulse. Environments that are not external stay as they are: their workers
    are processes or containers, whatever they do.

    Args:
        pipeline: is changed.

    Returns:
        As many workers as one task may ask for at most, 1 where a shard is to keep one; 0 where nothing was changed.
    """
    components = pipeline.components
    readers = [id for id, made in components.transforms.items() if _is_source(components, made)]
    for reader in readers:
        _expand(components, reader)
    if not readers:
        return 0
    if any(stages > 1 and components.environments[id].resource_hints for id, stages in _stages(components).items()):
        return 1
    return sum(1 for _, made in _leaves(components) if made.environment_id)


def _is_source(components: api.Components, transform: api.PTransform) -> bool:
    if transform.spec.urn != common_urns.primitives.PAR_DO.urn:
        return False
    if components.environments[transform.environment_id].urn != common_urns.environments.EXTERNAL.urn:
        return False
    if not api.ParDoPayload.FromString(transform.spec.payload).restriction_coder_id:
        return False
    return _in_front(components, transform) is not None


def _in_front(components: api.Components, transform: api.PTransform) -> list[str] | None:
    """The steps between an Impulse and a transform; None where something else is there."""
    found: list[str] = []
    while transform.spec.urn != common_urns.primitives.IMPULSE.urn:
        if len(transform.inputs) != 1:
            return None
        (given,) = transform.inputs.values()
        made = [id for id, one in _leaves(components) if given in one.outputs.values()]
        used = [id for id, one in _leaves(components) if given in one.inputs.values()]
        if len(made) != 1 or len(used) != 1:
            return None
        transform = components.transforms[made[0]]
        if transform.environment_id:
            found.append(made[0])
    return found


def _stages(components: api.Components) -> Counter[str]:
    """Environment -> stages that run in it, at least: each begins with what somebody else gives, or with state."""
    of_output = {name: one for _, one in _leaves(components) for name in one.outputs.values()}
    found: Counter[str] = Counter()
    for _, one in _leaves(components):
        if not one.environment_id:
            continue
        given = [of_output[name].environment_id for name in one.inputs.values() if name in of_output]
        payload = one.spec.payload if one.spec.urn == common_urns.primitives.PAR_DO.urn else b""
        if set(given) != {one.environment_id} or api.ParDoPayload.FromString(payload).state_specs:
            found[one.environment_id] += 1
    return found


def _leaves(components: api.Components) -> Iterator[tuple[str, Any]]:
    for id, one in components.transforms.items():
        if not one.subtransforms and set(one.outputs.values()) - set(one.inputs.values()):
            yield id, one


def _expand(components: api.Components, reader: str) -> None:
    """Put in the place of a splittable DoFn what the runner would: pair, split, process, the first two apart."""
    from apache_beam.runners.portability.fn_api_runner import translations

    transform = api.PTransform()
    transform.CopyFrom(components.transforms[reader])
    apart = [*(_in_front(components, transform) or ())]
    before = set(components.transforms)
    context = translations.TransformContext(components, frozenset())
    stage = translations.Stage(transform.unique_name, [transform], environment=transform.environment_id)
    made = [one.transforms[0].unique_name for one in translations.expand_sdf([stage], context)]
    new = {components.transforms[id].unique_name: id for id in set(components.transforms) - before}
    *first, process = (new[name] for name in made)
    del components.transforms[reader]
    for parent in components.transforms.values():
        if reader in parent.subtransforms:
            at = list(parent.subtransforms).index(reader)
            inside = [*parent.subtransforms[:at], *first, process, *parent.subtransforms[at + 1 :]]
            parent.subtransforms[:] = inside
    environment = _environment_apart(components, transform.environment_id)
    for id in (*apart, *first):
        components.transforms[id].environment_id = environment


def _environment_apart(components: api.Components, environment: str) -> str:
    apart = f"{environment}-parts"
    if apart not in components.environments:
        components.environments[apart].CopyFrom(components.environments[environment])
        payload = api.ExternalPayload.FromString(components.environments[apart].payload)
        payload.params[PARTS] = "1"
        components.environments[apart].payload = payload.SerializeToString()
    return apart
