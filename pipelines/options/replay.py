"""What `--replay` does not go with. Imports no Beam."""

from __future__ import annotations

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.options.schemes import FILES, Mode, is_topic, scheme_of
from beamsplit.pipelines.options.values import ScoreOptions, is_given

NOT_WITH = {
    "limit": "reads the first rows",
    "where": "chooses rows",
    "partition": "deals all rows to the workers",
    "resume": "keeps splits of all rows",
    "group": "goes on where it was",
    "start": "says where to begin",
}
"""Option -> what it says of rows, of which a replay knows each."""


def check_replay(options: ScoreOptions, mode: Mode) -> None:
    """Raise for options that a replay does not go with.

    Raises:
        UsageError: there is one; names both sides and the fix.
    """
    replay = options.source.replay
    if replay is None:
        return
    if mode is Mode.STREAM:
        raise UsageError(
            f"--replay {replay} reads messages that failed, and ends, and --output {options.sink.output} is for a "
            "stream; type a file, and --until_end"
        )
    for name, what in NOT_WITH.items():
        if is_given(options, name):
            raise UsageError(f"--replay {replay} names the rows that are read, and --{name} {what}; leave one out")
    other = next((one for one in options.source.input if scheme_of(one) is not FILES and not is_topic(one)), None)
    if other is not None:
        raise UsageError(
            f"--replay {replay} knows rows of files and of topics, and --input {other} is neither; choose rows of "
            "it with --where"
        )
