"""The notebook of `examples/` runs from its first cell to its last, and shows what it is there to show."""

from __future__ import annotations

from pathlib import Path

import nbclient
import nbformat

ROOT = Path(__file__).parents[2]


def test_the_notebook_runs_and_shows_progress_and_the_report():
    notebook = nbformat.read(ROOT / "examples" / "scoring.ipynb", as_version=4)
    resources = {"metadata": {"path": str(ROOT)}}
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources).execute()
    shown = [
        text
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        for text in (*output.get("data", {}).values(), output.get("text", ""))
    ]
    assert any("<progress" in text for text in shown)
    assert any("rows/s" in text for text in shown)
    assert any(text.startswith("<iframe srcdoc=") for text in shown)
    assert any("logits_argmax" in text for text in shown)
    # What is kept in the repository has no outputs: they are of whoever ran it last.
    kept = nbformat.read(ROOT / "examples" / "scoring.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in kept.cells)
