"""Messages of a registry's schema as what a job writes: which schema, and whether the job's columns fit it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.options.values import StreamOptions
from beamsplit.transforms.block import data_columns
from beamsplit.transforms.kafka.registry.client import (
    NotThere,
    Refused,
    Registry,
    RegistryAway,
    Schema,
    Unusable,
    latest_schema,
    register,
)
from beamsplit.transforms.kafka.registry.kinds import KINDS, subject_of
from beamsplit.transforms.kafka.registry.write import FitSchema, WriteRegistered


@dataclass(frozen=True)
class RegisteredOutput:
    """The schema that messages of an output are written by."""

    kind: str
    """One of `KINDS`."""

    topic: str
    asked: StreamOptions
    dry: bool
    """Whether nothing may be registered, as the job does not run."""

    latest: Schema | None = None
    """Of the subject, once the registry was asked; None where one is to be registered."""

    @property
    def _registry(self) -> Registry:
        return Registry(str(self.asked.schema_registry), self.asked.kafka_config)

    @property
    def subject(self) -> str:
        """Of the topic's values."""
        return subject_of(self.asked.subject_strategy or "topic", self.topic, self.asked.output_record)

    def opened(self) -> RegisteredOutput:
        """With the subject's latest version, unless one is to be registered.

        Raises:
            UsageError: the registry does not answer, or has no such subject, or one of another kind.
        """
        if self.asked.register_schema:
            self._registry.client()
            return self
        try:
            latest = latest_schema(self._registry, self.subject)
        except RegistryAway as error:
            raise UsageError(str(error)) from error
        except Unusable as error:
            raise UsageError(f"--output {self.topic}, subject {self.subject}: {error}") from error
        except NotThere:
            raise UsageError(
                f"--schema_registry {self.asked.schema_registry} has no subject {self.subject!r} for --output "
                f"{self.topic}; register its schema, or have the job do so with --register_schema"
            ) from None
        wanted = KINDS[self.kind].type
        if latest.kind != wanted:
            raise UsageError(
                f"--output_format {self.kind}, and the schema of {latest} is of the kind {latest.kind}; give that "
                "format, or another subject"
            )
        return replace(self, latest=latest)

    def format(self, blocks: pa.Schema) -> tuple[WriteRegistered, FitSchema]:
        """What makes messages of the rows of blocks, and the step that fails those of which it cannot.

        Raises:
            UsageError: the columns do not fit the schema, or the registry does not take theirs.
        """
        rows = pa.schema([blocks.field(name) for name in data_columns(blocks)])
        schema = self.latest or self._registered(rows)
        try:
            writer = KINDS[self.kind].module.writer(schema, self.asked.output_record, rows)
        except ValueError as error:
            fix = "change --keep and --finish, or the schema" if self.latest else "leave the column out"
            raise UsageError(f"the schema of {schema} does not fit what is written: {error}; {fix}") from error
        return WriteRegistered(self.kind, schema, writer), FitSchema(writer)

    def _registered(self, rows: pa.Schema) -> Schema:
        """The schema that these columns have, registered."""
        kind = KINDS[self.kind]
        name = self.asked.output_record or re.sub(r"^(?=\d)|\W", "_", self.topic, flags=re.ASCII)
        try:
            text = kind.module.derived(rows, name)
        except (ValueError, TypeError) as error:
            raise UsageError(f"--register_schema: {error}; leave the column out, or rename it") from error
        if self.dry:
            return Schema(0, kind.type, text, subject=self.subject)
        try:
            return register(self._registry, self.subject, kind.type, text)
        except RegistryAway as error:
            raise UsageError(str(error)) from error
        except (NotThere, Refused) as error:
            raise UsageError(
                f"--register_schema: the registry does not take the schema of what is written for the subject "
                f"{self.subject!r}: {error}; write columns that go with its versions, or name another topic"
            ) from error
