"""Two processes on CPUs train one model: the same figures as one process at the same batch, within noise, and one
writer.
"""

import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from extras.speed import processes
from extras.speed.processes import share

REPOSITORY = Path(__file__).resolve().parent.parent


def test_only_the_first_process_writes_the_submission(monkeypatch):
    ended = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(sys, stream, getattr(sys, stream))
    monkeypatch.setattr(
        processes.atexit, "register", lambda action, *given, **more: ended.append(lambda: action(*given, **more))
    )
    for name, value in {
        "init_process_group": None,
        "barrier": None,
        "is_initialized": True,
        "destroy_process_group": None,
    }.items():
        monkeypatch.setattr(processes.distributed, name, lambda *_, value=value: value)
    monkeypatch.setenv("TQDM_DISABLE", "")
    for number, keeps in ((0, True), (1, False)):
        monkeypatch.setattr(processes.distributed, "get_rank", lambda number=number: number)
        args = Namespace(device="cpu", out="runs", resume=False, baselines=True, submit="solution.txt")
        processes.join_processes(args)
        assert (args.submit == "solution.txt") is args.baselines is keeps and Path(args.submit).parent.is_dir()
    sys.stdout.close()  # the second one's, which leads nowhere
    for action in ended:
        action()


def test_alone_nothing_is_shared_out():
    loader, loss_function = object(), object()
    assert processes.share_out(torch.nn.Linear(2, 1), loader, loss_function) == (loader, loss_function)


@pytest.mark.parametrize("clips", [1, 2, 3, 7, 8])
def test_shares_are_equally_large_and_hold_every_clip(clips):
    shares = [share(clips, rank, 2).tolist() for rank in (0, 1)]
    assert len(shares[0]) == len(shares[1]) == (clips + 1) // 2
    assert set(shares[0] + shares[1]) == set(range(clips))
