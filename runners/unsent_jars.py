"""Which of its own jars Beam's Flink job server sends to a session cluster: all, whatever `filesToStage` says.

Beam: no issue yet. To be reported: `FlinkJobInvoker` stages the whole class path (162 jars); Python took its option
`--files_to_stage` for workers, so that it no longer reaches the job server. `PipelineResources` leaves out what lies in
`gradle/wrapper`, so that is where the jars lie that are not to be sent: links to the same files, in the cache.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from pathlib import Path

from beamsplit.runners.cache import made_once

UNSENT = os.path.join("gradle", "wrapper")
"""The end of a folder's path whose jars are not sent."""


def without_sending(jars: Collection[str]) -> dict[str, str]:
    """Jars of one folder -> the same under paths with which they are not sent."""
    if not jars:
        return {}
    folder = Path(next(iter(jars))).parent
    names = [os.path.basename(jar) for jar in jars]

    def link(made: Path) -> None:
        (made / UNSENT).mkdir(parents=True)
        for jar in folder.glob("*.jar"):
            try:
                os.link(jar, made / UNSENT / jar.name)
            except OSError:  # a file system without links
                shutil.copyfile(jar, made / UNSENT / jar.name)

    unsent = made_once(f"jars/{folder.name}-unsent", link) / UNSENT
    return {jar: str(unsent / name) for jar, name in zip(jars, names, strict=True)}
