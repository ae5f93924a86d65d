"""Fills the marks <!--=key-->number<!--/--> of README with the numbers of docs/figures.json and of the write-up.

    python -m docs.fill_readme

The text inside each mark is replaced. A key without a number is an error, so README has no number from elsewhere.
"""

import json
import re
from pathlib import Path

from extras.writeup.numbers import STEP5_LSTM, STEP7_CNN, STEP8_SPEARMAN, STEP9_SPEARMAN, STEP10_SPEARMAN

README = Path(__file__).resolve().parent.parent / "README.md"
MARKED = re.compile(r"<!--=(\w+)-->(.*?)<!--/-->", re.DOTALL)


def numbers():
    """{key: text} of every measured number and of the write-up's scores."""
    measured = json.loads((README.parent / "docs" / "figures.json").read_text(encoding="utf-8"))
    writeup = {f"writeup_lstm_{features}": f"{row['test_acc']:.2f}" for features, row in STEP5_LSTM.items()}
    writeup |= {f"writeup_8_{model}": f"{row['mean']:.2f}" for model, row in STEP8_SPEARMAN.items()}
    writeup |= {"writeup_9": f"{STEP9_SPEARMAN['valence']:.2f}", "writeup_10": f"{STEP10_SPEARMAN['mean']:.2f}"}
    return {**measured["figures"], **writeup, "writeup_cnn": f"{STEP7_CNN['test_acc']:.2f}"}


def fill(text):
    """The README text with the current number inside every mark."""
    current = numbers()
    return MARKED.sub(lambda found: f"<!--={found[1]}-->{current[found[1]]}<!--/-->", text)


if __name__ == "__main__":
    README.write_text(fill(README.read_text(encoding="utf-8")), encoding="utf-8")
