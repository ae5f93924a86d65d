"""Puts the figures of docs/figures.json and of the write-up into README's marked places, <!--=key-->figure<!--/-->.

    python -m docs.fill_readme

The text between such a pair is replaced; a key without a figure is an error, so README holds no figure from elsewhere.
"""

import json
import re
from pathlib import Path

from extras.writeup.numbers import STEP5_LSTM, STEP7_CNN, STEP8_SPEARMAN, STEP9_SPEARMAN, STEP10_SPEARMAN

README = Path(__file__).resolve().parent.parent / "README.md"
MARKED = re.compile(r"<!--=(\w+)-->(.*?)<!--/-->", re.DOTALL)


def figures():
    """{key: text}: what was measured, and the write-up's accuracies."""
    measured = json.loads((README.parent / "docs" / "figures.json").read_text(encoding="utf-8"))
    theirs = {f"writeup_lstm_{features}": f"{row['test_acc']:.2f}" for features, row in STEP5_LSTM.items()}
    theirs |= {f"writeup_8_{model}": f"{row['mean']:.2f}" for model, row in STEP8_SPEARMAN.items()}
    theirs |= {"writeup_9": f"{STEP9_SPEARMAN['valence']:.2f}", "writeup_10": f"{STEP10_SPEARMAN['mean']:.2f}"}
    return {**measured["figures"], **theirs, "writeup_cnn": f"{STEP7_CNN['test_acc']:.2f}"}


def fill(text):
    known = figures()
    return MARKED.sub(lambda found: f"<!--={found[1]}-->{known[found[1]]}<!--/-->", text)


if __name__ == "__main__":
    README.write_text(fill(README.read_text(encoding="utf-8")), encoding="utf-8")
