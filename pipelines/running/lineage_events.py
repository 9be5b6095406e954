"""A job as events of OpenLineage: what it reads, with which version of the model, and what it writes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pyarrow as pa
from openlineage.client import event_v2, facet_v2

from beamsplit.models.graph.model_copy import model_version
from beamsplit.pipelines.job.job import Job
from beamsplit.pipelines.options.values import ScoreOptions
from beamsplit.pipelines.report.summary import Summary
from beamsplit.pipelines.running.job_name import job_name
from beamsplit.pipelines.running.lineage_names import Named, named
from beamsplit.transforms.block import data_columns


class JobEvents:
    """Makes the events of one job.

    Args:
        options: as they were asked for.
        job: as it is planned.
    """

    def __init__(self, options: ScoreOptions, job: Job) -> None:
        self._options, self._job = options, job
        self._version = model_version(job.infer.plan.model.path)

    def event(
        self,
        state: str,
        summary: Summary | None = None,
        error: str | None = None,
        rows: tuple[int, int] | None = None,
    ) -> Any:
        """A RunEvent of this moment.

        Args:
            state: `START`, `RUNNING`, `COMPLETE`, `FAIL` or `ABORT`.
            summary: how it went, once that is known.
            error: why it failed.
            rows: (scored, failed) so far, where there is no summary yet.
        """
        if summary is not None:
            rows = summary.rows_scored, summary.rows_failed
        facets: dict[str, Any] = {"processing_engine": facet_v2.processing_engine_run.ProcessingEngineRunFacet(
            version=_version("apache-beam"), name="Apache Beam", openlineageAdapterVersion=_version("beamsplit")
        )}  # fmt: skip
        if error is not None:
            facets["errorMessage"] = facet_v2.error_message_run.ErrorMessageRunFacet(
                message=error, programmingLanguage="python"
            )
        if (parent := _parent()) is not None:
            facets["parent"] = parent
        kind = facet_v2.job_type_job.JobTypeJobFacet(
            processingType="BATCH" if self._job.source.bounded else "STREAMING", integration="BEAMSPLIT", jobType="JOB"
        )
        return event_v2.RunEvent(
            eventType=event_v2.RunState[state],
            eventTime=datetime.now(timezone.utc).isoformat(),
            run=event_v2.Run(runId=self._job.id, facets=facets),
            job=event_v2.Job(
                namespace=os.environ.get("OPENLINEAGE_NAMESPACE", "beamsplit"),
                name=job_name(self._options),
                facets={"jobType": kind},
            ),
            inputs=self._inputs(),
            outputs=self._outputs(rows),
            producer=PRODUCER,
        )

    def _inputs(self) -> list[Any]:
        columns = self._job.columns_read
        found = [self._input(name, columns) for name in dict.fromkeys(map(named, self._options.source.input))]
        model = event_v2.InputDataset(
            *named(self._options.binding.model.partition("#")[0])[:2],
            facets={
                "version": facet_v2.dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=self._version),
                "datasetType": facet_v2.dataset_type_dataset.DatasetTypeDatasetFacet(datasetType="MODEL"),
            },
        )
        return [*found, model]

    def _input(self, name: Named, columns: pa.Schema | None) -> Any:
        facets: dict[str, Any] = {} if columns is None else {"schema": _schema(columns)}
        if name.version is not None:
            facets["version"] = facet_v2.dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=name.version)
        return event_v2.InputDataset(name.namespace, name.name, facets=facets)

    def _outputs(self, rows: tuple[int, int] | None) -> list[Any]:
        predictions, errors = named(self._job.sinks.predictions.name), self._job.sinks.errors.name
        scored, failed = rows or (None, None)
        found = [_output(predictions, self._job.schema, scored)]
        if errors is not None:
            found.append(_output(named(errors), None, failed))
        return found


PRODUCER = "urn:beamsplit:score"
"""What made an event, as a URI."""

event_v2.set_producer(PRODUCER)


def _output(name: Named, schema: pa.Schema | None, rows: int | None) -> Any:
    counted: dict[str, Any] = {}
    if rows is not None:
        counted["outputStatistics"] = facet_v2.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
            rowCount=rows
        )
    facets: dict[str, Any] = {} if schema is None else {"schema": _schema(schema)}
    return event_v2.OutputDataset(name.namespace, name.name, facets=facets, outputFacets=counted)


def _schema(schema: pa.Schema) -> Any:
    return facet_v2.schema_dataset.SchemaDatasetFacet(
        fields=_fields([schema.field(name) for name in data_columns(schema)])
    )


def _fields(fields: Sequence[pa.Field]) -> list[Any]:
    return [
        facet_v2.schema_dataset.SchemaDatasetFacetFields(
            name=field.name,
            type=str(field.type),
            fields=_fields(list(field.type)) if pa.types.is_struct(field.type) else [],
        )
        for field in fields
    ]


def _parent() -> Any:
    """What started the job, if that says so: `OPENLINEAGE_PARENT_ID=namespace/job/run`."""
    parts = os.environ.get("OPENLINEAGE_PARENT_ID", "").rsplit("/", 2)
    if len(parts) != 3:
        return None
    namespace, name, run = parts
    try:
        return facet_v2.parent_run.ParentRunFacet(
            run=facet_v2.parent_run.Run(runId=run), job=facet_v2.parent_run.Job(namespace=namespace, name=name)
        )
    except ValueError:  # of an id that is none
        return None


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # a checkout
        return "unknown"
