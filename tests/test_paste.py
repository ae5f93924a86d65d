"""What students copy most works where it is pasted, with the few definitions that it names: counted, pasted and run."""

import ast
import dis
from pathlib import Path
from types import CodeType

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
# Name: how many other functions or classes of the project it may take (constants and LabError are not counted), and
# what it does then.
CASES = {
    "SpectrogramDataset": (
        12,
        "d = SpectrogramDataset(folder / 'fma_genre_spectrograms', table, features='mel')\n"
        "assert len(d) == 24 and d[3][0].shape == (d.max_length, 128) and d[3][2] == d.lengths[3]",
    ),
    "torch_train_val_split": (
        3,
        "data = [(np.full((4, 2), k), k, 3) for k in range(10)]\n"
        "train, val = torch_train_val_split(data, 4, 4, val_size=0.33, seed=1)\n"
        "assert sorted(int(y) for loader in (train, val) for _, ys, _ in loader for y in ys) == list(range(10)) and len(val) == 1",
    ),
    "PaddingTransform": (3, "assert PaddingTransform(3, -1)(np.ones((2, 1))).tolist() == [[1], [1], [-1]]"),
    "LabelTransformer": (
        3,
        "t = LabelTransformer()\nassert t.fit_transform(['b', 'a']) == [1, 0] and t.inverse([0]) == ['a']",
    ),
    "LSTMBackbone": (
        3,
        "assert LSTMBackbone(5, 4, 2, bidirectional=True)(torch.ones(2, 6, 5), torch.tensor([6, 3])).shape == (2, 8)",
    ),
    "CNNBackbone": (3, "assert CNNBackbone(16, (2, 3))(torch.ones(2, 9, 16), torch.tensor([9, 4])).shape == (2, 12)"),
    "Classifier": (
        3,
        "m = Classifier(mean_over_time(5), 3)\nassert m(torch.ones(2, 6, 5), torch.tensor([6, 3])).shape == (2, 3)",
    ),
    "Regressor": (
        3,
        "m = Regressor(mean_over_time(5))\nassert m(torch.ones(2, 6, 5), torch.tensor([6, 3])).shape == (2,)",
    ),
    "MultitaskRegressor": (
        3,
        "m = MultitaskRegressor(mean_over_time(5))\nassert m(torch.ones(2, 6, 5), torch.tensor([6, 3])).shape == (2, 3)",
    ),
    "train_epoch": (
        5,
        "m = linear(2, 3)\nbefore = m.linear.weight.clone()\n"
        "loss = train_epoch(m, batches, nn.CrossEntropyLoss(), torch.optim.SGD(m.parameters(), 0.1))\n"
        "assert loss > 0 and not torch.equal(m.linear.weight, before)",
    ),
    "evaluate": (
        5,
        "e = evaluate(linear(2, 3), batches, nn.CrossEntropyLoss())\nassert e.outputs.shape == (7, 3) and e.loss > 0",
    ),
    "BestEpoch": (
        3,
        "m = linear(2, 3)\nbest = BestEpoch(m)\nassert best.update(0, 0.5, m)\nkept = m.linear.weight.clone()\n"
        "nn.init.zeros_(m.linear.weight)\nassert not best.update(1, 0.4, m)\nbest.restore(m)\nassert torch.equal(m.linear.weight, kept)",
    ),
    "overfit_batch": (
        3,
        "m = linear(2, 3)\nfound = overfit_batch(m, batches, nn.CrossEntropyLoss(), torch.optim.Adam(m.parameters()), steps=3)\n"
        "assert found['overfit'] in ('learns', 'slow', 'stuck', 'diverges')",
    ),
    "classification_metrics": (
        3,
        "assert classification_metrics([0, 1, 1], [0, 1, 0], ['a', 'b'])['confusion'] == [[1, 0], [1, 1]]",
    ),
    "spearman": (3, "assert spearman([1, 2, 3], [2, 4, 9]) == 1"),
    "confusion_figure": (3, "assert confusion_figure([[1, 0], [2, 3]], ['a', 'b'], 'title').axes"),
    "curves_figure": (
        3,
        "history = [{'epoch': 0, 'train_loss': 1.0, 'val_loss': 2.0}, {'epoch': 1, 'train_loss': 0.5, 'val_loss': 1.5}]\n"
        "assert curves_figure(history, 'cross entropy', {'constant': 1.1}, 'title', 1).axes",
    ),
}
# What stands around a pasted definition in a student's notebook.
AROUND = """
import numpy as np
import torch
from torch import nn


class mean_over_time(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.feature_size = size

    def forward(self, x, lengths):
        return x.mean(dim=1)


class linear(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)

    def forward(self, x, lengths):
        return self.linear(x[:, 0])


class Items(torch.utils.data.Dataset):
    def __len__(self):
        return 7

    def __getitem__(self, item):
        return torch.full((3, 2), float(item)), item % 3, 3


batches = torch.utils.data.DataLoader(Items(), batch_size=4)
"""


def modules():
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(REPOSITORY.glob("common/*.py"))}


def definitions(trees):
    """{name: (source, module's path, whether it is a function or class)} of everything that common/ defines at top
    level.
    """
    found = {}
    for path, tree in trees.items():
        for node in tree.body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                found[node.name] = (ast.unparse(node), path, node.name != "LabError")
            elif isinstance(node, (ast.Assign, ast.AnnAssign)):
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                for name in [part.id for part in ast.walk(target) if isinstance(part, ast.Name)]:
                    found[name] = (ast.unparse(node), path, False)
    return found


def looked_up(code, operations=("LOAD_GLOBAL",)):
    """The global names that a code object's functions look up when they run; with LOAD_NAME, those of bases and
    defaults too.
    """
    names = {step.argval for step in dis.get_instructions(code) if step.opname in operations}
    return names.union(*(looked_up(inner, operations) for inner in code.co_consts if isinstance(inner, CodeType)))


def pasted(name):
    """(the source of a definition of common/ with all that it needs of common/, the other functions and classes among
    these).
    """
    trees = modules()
    home, needed, waiting = definitions(trees), {}, [name]
    while waiting:
        current = waiting.pop()
        if current in home and current not in needed:
            needed[current] = home[current]
            code = compile(home[current][0], current, "exec")
            waiting += looked_up(code, ("LOAD_GLOBAL", "LOAD_NAME"))
    imports = [
        ast.unparse(node)
        for path in {path for _, path, _ in needed.values()}
        for node in trees[path].body
        if isinstance(node, (ast.Import, ast.ImportFrom))
        and not (getattr(node, "module", None) or "").startswith("common")
    ]
    # constants first, in the order of the files; then classes and functions, whose order only matters for bases
    order = sorted(needed, key=lambda each: (needed[each][2], list(home).index(each)))
    text = "\n".join([*imports, *dict.fromkeys(needed[each][0] for each in order)])
    return text, sorted(each for each, (_, _, counts) in needed.items() if counts and each != name)


@pytest.mark.parametrize("name", CASES)
def test_a_definition_runs_pasted_with_the_few_that_it_names(name, data, capsys):
    most, use = CASES[name]
    text, others = pasted(name)
    assert len(others) <= most, f"{name} takes {len(others)} others: {', '.join(others)}"
    namespace = {"folder": data, "table": {"Rock": "Rock", "Ρεμπέτικο": "Ελληνικά", "Chiptune": None}}
    exec(compile(f"{text}\n{AROUND}\n{use}", f"<{name} pasted>", "exec"), namespace)
