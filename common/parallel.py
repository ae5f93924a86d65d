"""Several processes training one model: `torchrun --nproc_per_node=2 step7_cnn.py`, one process for each GPU, or on CPUs.

Every process runs the whole step. Each takes its share of every batch, gradients are averaged by DistributedDataParallel, and losses
and outputs are put together again, so that all processes know the same figures and pick the same epoch. The first one alone prints and
writes; the others write where nobody looks.
"""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel


def join_processes(args):
    """Under torchrun, with more than one process: meets the others, takes a GPU of its own, and silences all but the first process."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return
    if args.device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if args.device == "cuda" else "gloo")
    atexit.register(distributed.destroy_process_group)
    if rank():
        shown, args.out = args.out, tempfile.mkdtemp(prefix="lab3-process-")
        atexit.register(shutil.rmtree, args.out, ignore_errors=True)
        if args.resume and Path(shown).exists():
            shutil.copytree(shown, args.out, dirs_exist_ok=True)
        if getattr(args, "submit", None):
            args.submit = str(Path(args.out) / "submission.txt")
        args.no_baselines = True
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, for as long as the process lives
        os.environ["TQDM_DISABLE"] = "1"
    distributed.barrier()  # the first process writes only when the others have read what they go on from


def rank():
    return distributed.get_rank() if distributed.is_initialized() else 0


def processes():
    return distributed.get_world_size() if distributed.is_initialized() else 1


def in_parallel(model):
    """The model as it is trained: itself in one process, else in DistributedDataParallel, on GPUs with batch norm over all shares."""
    if processes() == 1 or not any(parameter.requires_grad for parameter in model.parameters()):
        return model
    if next(model.parameters()).is_cuda:
        model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return DistributedDataParallel(model, broadcast_buffers=False)


def own_share(batch):
    """This process's clips of a batch (x, y, lengths), and the weight of their mean loss, so that DDP's average is that over the batch.

    A process for which none are left takes the batch's first clip at weight 0.
    """
    if processes() == 1:
        return batch, 1.0
    share = tuple(tensor[rank() :: processes()] for tensor in batch)
    weight = len(share[1]) * processes() / len(batch[1])
    return (share if weight else tuple(tensor[:1] for tensor in batch)), weight


def mean_over_processes(tensors):
    """Replaces each floating tensor by its mean over the processes, in place."""
    if processes() > 1:
        for tensor in tensors:
            if tensor.is_floating_point():
                distributed.all_reduce(tensor)
                tensor /= processes()


def gathered(items):
    """The items of all processes' dicts {batch number: item} in one, in the batches' order: a list."""
    if processes() == 1:
        return list(items.values())
    parts: list = [None] * processes()
    distributed.all_gather_object(parts, items)
    together = {number: item for part in parts for number, item in part.items()}
    return [together[number] for number in sorted(together)]
