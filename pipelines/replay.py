"""Score again what failed: `python -m pipelines.replay ERRORS --model M.onnx --output FILE [options of score]`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.options.schemes import is_topic
from beamsplit.pipelines.running.interrupt import exit_now, is_own_process, own_process
from beamsplit.pipelines.running.log_lines import log_lines
from beamsplit.pipelines.score import FAILED, INTERRUPTED, WRONG_USE, quiet_logs
from beamsplit.pipelines.score import main as score
from beamsplit.pipelines.typed import show_error, typed
from beamsplit.pipelines.utf8 import speak_utf8
from beamsplit.runners.without_pandas import leave_pandas_out

USAGE = """usage: {command} ERRORS --model M.onnx --output FILE [options]

Score again the rows that an errors output names, and no others: errors.jsonl (or .csv, .parquet, ...), or
kafka://HOST:PORT/ERRORS. Each prediction tells of which row it is, so that the outputs of the job and of its replay
together hold each row once.

  {command} errors.jsonl --model m2.onnx --output again.parquet
  {command} kafka://broker:9092/errors --model m2.onnx --output again.parquet
  {command} errors.jsonl --input kafka://broker:9092/in --model m2.onnx --output again.parquet

--input is what the errors name unless it is typed. All other options are those of {score}, which is told
--replay ERRORS; {score} --help lists them.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The command: gives its exit code, which is that of `score`."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE.format(command=typed("replay"), score=typed("score")), end="")
        return 0 if argv else WRONG_USE
    with log_lines(argv):
        return _main(argv)


def _main(argv: Sequence[str]) -> int:
    debug = "--debug" in argv
    # Reading the errors imports what scoring does.
    quiet_logs(debug)
    if is_own_process():
        leave_pandas_out()
    try:
        same = score_argv(argv)
    except UsageError as error:
        show_error(f"error: {error}", debug)
        return WRONG_USE
    except KeyboardInterrupt as interrupt:
        print("interrupted: nothing was begun", file=sys.stderr)
        return getattr(interrupt, "code", INTERRUPTED)
    except Exception as error:  # libraries may raise anything
        show_error(f"error: {argv[0]} cannot be read: {error} (--debug shows all)", debug)
        return FAILED
    return score(same)


def score_argv(argv: Sequence[str]) -> list[str]:
    """The options of `score` that do the same.

    Raises:
        UsageError: no errors output is named first, or it does not say what was read.
    """
    name, *rest = argv
    if name.startswith("-"):
        raise UsageError(
            f"{name} stands first, and an errors output is wanted there; type {typed('replay')} ERRORS {name}"
        )
    given = [word.partition("=")[0] for word in rest]
    if "--replay" in given:
        raise UsageError(f"--replay is {name} already; leave it out")
    if "--input" in given:
        inputs: list[str] = []
        topic = any(is_topic(word.removeprefix("--input=")) for word in rest[given.index("--input") :][:2])
    else:
        inputs = _inputs(name, _value(rest, "--kafka_config"))
        topic = is_topic(inputs[0])
        inputs = ["--input", *inputs]
    end = ["--until_end"] if topic and "--until_end" not in given else []
    return [*inputs, *rest, *end, f"--replay={name}"]


def _inputs(name: str, kafka_config: str | None) -> list[str]:
    """What the errors name: files, or a topic.

    Raises:
        UsageError: they name a topic, and not where it is; or several.
    """
    from beamsplit.pipelines.sources.replayed import failed_origins
    from beamsplit.transforms.kafka.blocks import parse_origin

    failed = failed_origins(name, kafka_config)
    if failed.files:
        return sorted(failed.files)
    topics = sorted({parse_origin(place)[0] for place in failed.messages})
    if len(topics) != 1 or not is_topic(name):
        told = ", ".join(topics) or "gaps only"
        raise UsageError(
            f"{name} names messages ({told}), and not where their topic is; type --input kafka://HOST:PORT/"
            f"{topics[0] if topics else 'TOPIC'}"
        )
    return [f"{name.rstrip('/').rsplit('/', 1)[0]}/{topics[0]}"]


def _value(argv: Sequence[str], option: str) -> str | None:
    """What an option is given, as it is typed."""
    for at, word in enumerate(argv):
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
        if word == option and at + 1 < len(argv):
            return argv[at + 1]
    return None


if __name__ == "__main__":
    speak_utf8()
    own_process()
    exit_now(main())
