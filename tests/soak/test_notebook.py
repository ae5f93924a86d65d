"""notebooks/lab.ipynb runs without a browser, on a fifth of the demo music, with two epochs for each network."""

import json
import re
from pathlib import Path

import pytest

from extras.demo.folder import compose_demo

nbclient = pytest.importorskip("nbclient", reason="needs requirements-notebook.txt")
nbformat = pytest.importorskip("nbformat", reason="needs requirements-notebook.txt")
pytest.importorskip("ipykernel", reason="needs requirements-notebook.txt")

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "lab.ipynb"


@pytest.mark.filterwarnings("default")
def test_the_notebook_runs_from_top_to_bottom(tmp_path, monkeypatch):
    compose_demo(tmp_path / "demo", scale=0.2)
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "demo"))
    monkeypatch.setenv("LAB_OUT", str(tmp_path / "runs"))
    monkeypatch.setenv("LAB_FLAGS", f'--cache "{tmp_path / "cache"}" --epochs 2 --batch-size 16 --no-baselines')
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    text = "".join(output.get("text", "") for output in outputs if output.output_type == "stream")
    results = [line.split()[1] for line in text.splitlines() if line.startswith("RESULT ")]
    steps = [
        "step0_data",
        "step1_visualize",
        "step5_lstm",
        "step7_cnn",
        "step7a_look_inside",
        "step8_regression",
        "step9_transfer",
    ]
    assert list(dict.fromkeys(results)) == [*steps, "step10_multitask", "build_report"]
    figures = [output for output in outputs if output.output_type == "display_data" and "image/png" in output.data]
    assert len(figures) >= 30 and re.search(r"steps=(\d+) of=\1\b", text)
    assert "Traceback" not in text and "error: " not in text


def test_its_outputs_are_empty():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
    assert len({cell["id"] for cell in cells}) == len(cells)
