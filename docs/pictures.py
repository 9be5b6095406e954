"""Takes the pictures of docs/images anew, from the commands themselves: `python docs/pictures.py`.

Needs tmux, Chromium and Pillow. The progress bar is what a terminal shows while `score` runs, drawn as SVG; the report
is a page that `plan` wrote, as Chromium shows it.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.text import Text

from beamsplit.models.graph.light import light_model_path, materialise_weights
from beamsplit.pipelines.examples import write_photos

IMAGES = Path(__file__).parent / "images"
COLUMNS = 96
COPIES = 8
"""Of each photo, so that the job takes some seconds."""

SCORE = (
    "python -m pipelines.score --model squeezenet.onnx --input photos --prepare image:size=224 \\",
    "    --finish top_k:3 --keep path --output top3.parquet --errors errors.jsonl",
)


def in_terminal(folder: Path, wanted: re.Pattern[str]) -> str:
    """What the terminal shows, with colours, once a line of it is as wanted.

    Raises:
        SystemExit: that did not come within a minute.
    """
    tmux = ["tmux", "-L", f"beamsplit-{folder.name}"]
    path, root = f"{Path(sys.executable).parent}:/usr/bin:/bin", IMAGES.parent.parent
    shell = f"env PS1='$ ' PATH='{path}' PYTHONPATH='{root}' bash --norc"
    size = ["-x", str(COLUMNS), "-y", "20"]
    subprocess.run([*tmux, "new-session", "-d", *size, "-s", "picture", "-c", str(folder), shell], check=True)
    try:
        time.sleep(1)
        for line in SCORE:
            subprocess.run([*tmux, "send-keys", "-t", "picture", line, "Enter"], check=True)
        for _ in range(600):
            time.sleep(0.1)
            capture = [*tmux, "capture-pane", "-e", "-p", "-t", "picture"]
            seen = subprocess.run(capture, check=True, capture_output=True, text=True).stdout.rstrip()
            if wanted.search(seen):
                return seen
        raise SystemExit(f"the terminal shows no progress:\n{seen}")
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)


def as_svg(shown: str) -> str:
    """A picture of a terminal's text, with no font from elsewhere."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(shown))
    return re.sub(r"@font-face \{.*?\}\s*", "", console.export_svg(title="score"), flags=re.DOTALL)


def main() -> None:
    """Take both."""
    with tempfile.TemporaryDirectory(prefix="pictures") as name:
        folder = Path(name)
        materialise_weights(light_model_path("light_squeezenet"), str(folder / "squeezenet.onnx"))
        write_photos(folder / "photos")
        for photo in list((folder / "photos").iterdir()):
            for number in range(1, COPIES):
                shutil.copy(photo, photo.with_name(f"{number}-{photo.name}"))
        (IMAGES / "progress.svg").write_text(as_svg(in_terminal(folder, re.compile(r" (2|3)\d\d/\d+ rows"))), "utf-8")

        plan = [sys.executable, "-m", "beamsplit", "plan", "--model", "squeezenet.onnx", "--stages", "2"]
        subprocess.run([*plan, "--micro_batch", "8", "--report", "plan.html"], cwd=folder, check=True)
        taken = folder / "plan.png"
        chromium = ["chromium", "--headless", "--no-sandbox", "--hide-scrollbars", "--window-size=1200,1500"]
        subprocess.run([*chromium, f"--screenshot={taken}", (folder / "plan.html").as_uri()], check=True)
        Image.open(taken).convert("RGB").quantize(64).save(IMAGES / "plan_report.png", optimize=True)


if __name__ == "__main__":
    main()
