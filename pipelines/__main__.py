"""The console script: `beamsplit score ...` is `python -m pipelines.score ...`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

COMMANDS = {
    "score": "score files with an ONNX model",
    "replay": "score again the rows that failed",
    "plan": "plan how a model is split by depth over workers",
    "convert": "make an ONNX model of one of another library",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first word names; gives its exit code, or ends the process if there is no `argv`."""
    if argv is None:
        from beamsplit.pipelines.running.interrupt import exit_now, own_process
        from beamsplit.pipelines.utf8 import speak_utf8

        speak_utf8()
        own_process()
        exit_now(main(sys.argv[1:]))
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: beamsplit COMMAND [options]; beamsplit COMMAND --help tells more\n")
        print("\n".join(f"  {name:<8} {text}" for name, text in COMMANDS.items()))
        return 0 if argv else 2
    if argv[0] not in COMMANDS:
        print(f"error: {argv[0]!r} is no command; commands are {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    if argv[0] == "convert":
        from beamsplit.pipelines.convert import main as convert

        return convert(argv[1:])
    if argv[0] == "replay":
        from beamsplit.pipelines.replay import main as replay

        return replay(argv[1:])
    if argv[0] == "plan":
        from beamsplit.pipelines.plan import main as plan

        return plan(argv[1:])
    from beamsplit.pipelines.score import main as score

    return score(argv[1:])


if __name__ == "__main__":
    main()
