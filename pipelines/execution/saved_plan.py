"""The plan of stages that `--plan` names: a plan.json, or a model that names its own stages."""

from __future__ import annotations

import os
from collections.abc import Sequence

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.known_files import model_hash
from beamsplit.models.scoring.scorer import ScoringPlan
from beamsplit.models.small_file import decode_small
from beamsplit.models.split.plan import Plan, check_runnable, from_json, read_plan
from beamsplit.models.split.saved_files import check_data, check_named
from beamsplit.pipelines.options.division import Parallelism
from beamsplit.transforms.write.storage import open_input


def saved_plan(asked: Parallelism, path: str, model: str, scoring: ScoringPlan) -> tuple[Plan, str | None]:
    """(the plan of `--plan PATH`, the folder that it lies in, if it names files there).

    Args:
        asked: how the model is to be divided.
        path: of the plan.
        model: path of the model, as the user names it.
        scoring: how the whole model would be run.

    Raises:
        UsageError: it cannot be read, or is not of this model.
    """
    if path.endswith(".onnx"):
        from beamsplit.pipelines.execution.annotated_stages import plan_in_model

        return plan_in_model(asked, model, scoring), None
    if "://" in path:
        try:
            with open_input(path) as file:
                text = decode_small(file)
        except (OSError, ValueError) as error:
            raise UsageError(
                f"--plan {path} cannot be read ({getattr(error, 'strerror', None) or error}): give a plan.json"
            ) from None
        plan = from_json(text, f"--plan {path}")
    else:
        plan = read_plan(path)
    check_runnable(plan, f"--plan {path}")
    check_named(plan, f"--plan {path}")
    found = model_hash(scoring.model.path)
    if plan.model_hash != found:
        raise UsageError(
            f"--plan {path} is of {plan.model} with the hash {plan.model_hash[:12]}, but --model {model} has "
            f"{found[:12]}: make it again with python -m pipelines.plan --model {model} --output {path}"
        )
    if plan.rewrites != scoring.model.rewrites:
        raise UsageError(
            f"--plan {path} was made of the model {_rewritten(plan.rewrites)}, but with this data it is run "
            f"{_rewritten(scoring.model.rewrites)}: make it again with python -m pipelines.plan and --sample"
        )
    check_data(plan, scoring.model.path, f"--plan {path}")
    if isinstance(asked.stages, int) and asked.stages != len(plan.stages):
        raise UsageError(
            f"--plan {path} has {len(plan.stages)} stages and --stages says {asked.stages}; leave --stages out"
        )
    # Workers may have another current folder.
    return plan, path.rsplit("/", 1)[0] if "://" in path else os.path.dirname(os.path.abspath(path))


def _rewritten(rewrites: Sequence[str]) -> str:
    return f"rewritten ({', '.join(rewrites)})" if rewrites else "as it is"
