"""`--replay`: of an input only the rows that an errors output names."""

from __future__ import annotations

import datetime
from dataclasses import replace

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.options.schemes import is_topic
from beamsplit.pipelines.options.values import ScoreOptions
from beamsplit.pipelines.sources.files import Files
from beamsplit.pipelines.sources.source import Source
from beamsplit.pipelines.sources.topic_range import TopicRange
from beamsplit.transforms.columns_behind import AddRowColumns
from beamsplit.transforms.failures.origins import FailedOrigins, origins_of_messages, read_origins
from beamsplit.transforms.kafka.blocks import parse_origin
from beamsplit.transforms.kafka.config import ClientConfig, parse_topic


def failed_origins(name: str, kafka_config: str | None) -> FailedOrigins:
    """What an errors output names: a file, or a topic as it is now.

    Raises:
        UsageError: it cannot be read, is no errors output, or names no row.
    """
    if not is_topic(name):
        return read_origins(name)
    from beamsplit.transforms.kafka.whole_topic import values_of

    topic = parse_topic(name, "--replay")
    return origins_of_messages(name, values_of(ClientConfig(topic.servers, kafka_config), topic, "--replay"))


def replay(source: Source, options: ScoreOptions) -> Source:
    """The source with the rows that are read again.

    Raises:
        UsageError: errors name others than it has, or it is neither files nor a topic.
    """
    if isinstance(source, Files):
        return replay_files(source, options)
    assert isinstance(source, TopicRange)
    return replay_topic(source, options)


def replay_files(files: Files, options: ScoreOptions) -> Files:
    """The files with the rows that are read again.

    Raises:
        UsageError: errors name other files, or messages.
    """
    name = str(options.source.replay)
    failed = failed_origins(name, options.stream.kafka_config)
    if not failed.files:
        topics = sorted({parse_origin(place)[0] for place in failed.messages}) or ["of a topic"]
        raise UsageError(
            f"--replay {name} names messages ({', '.join(topics)}), and --input {options.source.input[0]} is files; "
            f"type --input kafka://HOST:PORT/{topics[0]} --until_end"
        )
    there = {file.path: file for file in files.inputs}
    missing = [path for path in failed.files if path not in there]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UsageError(
            f"--replay {name} names rows of {missing[0]}{more}, which --input {' '.join(options.source.input)} does "
            "not read; type --input as that job had it"
        )
    notes = []
    changed = failed.changed
    later = [
        path
        for path in failed.files
        if changed is not None and (stamp := there[path].stamp) is not None and stamp[1] / 1e9 > changed
    ]
    if later:
        when = datetime.datetime.fromtimestamp(changed or 0.0).isoformat(" ", "seconds")
        more = f" and {len(later) - 1} more files" if len(later) > 1 else ""
        notes.append(f"{later[0]}{more} changed since the errors were written ({when}): its rows may be others")
    after = () if is_topic(options.sink.output) else (AddRowColumns(),)
    return replace(files, wanted=failed.files, after=after, notes=(*files.notes, *notes))


def replay_topic(source: TopicRange, options: ScoreOptions) -> TopicRange:
    """The topic with the messages that are read again.

    Raises:
        UsageError: errors name other topics, or files.
    """
    name = str(options.source.replay)
    failed = failed_origins(name, options.stream.kafka_config)
    places = {parse_origin(place): offsets for place, offsets in failed.messages.items()}
    wanted = {partition: offsets for (topic, partition), offsets in places.items() if topic == source.topic.name}
    if not wanted:
        told = sorted({topic for topic, _ in places}) or sorted(failed.files)[:1]
        others = f"only of {', '.join(told)}" if told else "all that it names were gone before"
        raise UsageError(f"--replay {name} names no message of --input {source.topic} ({others}); type that as --input")
    notes = []
    left = sorted({topic for topic, _ in places} - {source.topic.name})
    if left:
        notes.append(f"messages of {', '.join(left)} failed too, which --input {source.topic} does not name: left out")
    if failed.gaps:
        notes.append(f"{failed.gaps} errors tell of messages that were gone then: these cannot be read")
    return replace(source, wanted=wanted, notes=(*source.notes, *notes))
