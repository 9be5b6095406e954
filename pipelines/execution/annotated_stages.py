"""The stages that a model itself names: the plan that `plan --write_model` put in, or any tool's `pipeline_stage`."""

from __future__ import annotations

from dataclasses import replace

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.known_files import model_hash
from beamsplit.models.graph.load import file_name, load_graph
from beamsplit.models.scoring.scorer import ScoringPlan
from beamsplit.models.split.annotations import read_annotated_plan, read_stages
from beamsplit.models.split.cuts import split_graph
from beamsplit.models.split.plan import Plan, check_runnable
from beamsplit.models.split.saved_files import without_files
from beamsplit.models.split.stage import assign
from beamsplit.pipelines.options.division import Parallelism


def plan_in_model(asked: Parallelism, model: str, scoring: ScoringPlan) -> Plan:
    """The plan of `--plan M.onnx`, where `--model` is that model.

    Args:
        asked: with `plan` and `stages`.
        model: path of the model, as the user names it.
        scoring: how the whole model would be run.

    Raises:
        UsageError: it is another model, names no stages, or stages that it cannot be cut into.
    """
    if asked.plan != model:
        raise UsageError(
            f"--plan {asked.plan} is a model, whose stages are followed where --model is it too; "
            f"type --model {asked.plan}, or name a plan.json"
        )
    graph = split_graph(load_graph(scoring.model))
    plan = read_annotated_plan(graph.model)
    if plan is not None and not all(node in graph.parts for stage in plan.stages for node in stage.nodes):
        # Another tool has changed the graph since; what it says of each node still counts.
        plan = None
    if plan is None:
        stage_of = read_stages(graph)
        if stage_of is None:
            raise UsageError(
                f"--plan {asked.plan}: the model names no stages (pipeline_stage of ONNX IR 11); "
                "type --stages N to plan some"
            )
        plan = Plan(file_name(scoring.model), "", scoring.batch_size, assign(graph, stage_of))
    check_runnable(plan, f"--plan {asked.plan}")
    if isinstance(asked.stages, int) and asked.stages != len(plan.stages):
        raise UsageError(
            f"the model names {len(plan.stages)} stages and --stages says {asked.stages}; leave one of them out"
        )
    # Files of stages lie where the plan was made; what the model is now is what is cut.
    return replace(
        plan,
        model_hash=model_hash(scoring.model.path),
        rewrites=scoring.model.rewrites,
        stages=without_files(plan).stages,
    )
