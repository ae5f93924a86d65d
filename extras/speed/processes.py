"""Data-parallel training in several processes: `torchrun --nproc_per_node=2 step7_cnn.py`, on GPUs or CPUs.

Every process runs the whole step. Each trains on an equal part of every batch, chosen as by PyTorch's
DistributedSampler. Gradients, losses and batch norm's statistics are averaged, so that all processes have the same
network, and each evaluates the whole split. Only the first process prints and keeps its files; the others write to
temporary folders. Two statements in a step, `join_processes(args)` and `train_loader, loss_function = share_out(...)`;
without torchrun they change nothing.
"""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

import torch
from torch import distributed

from common.errors import LabError, reason


def join_processes(args):
    """Under torchrun with more than one process: joins the group, takes a GPU, silences all but the first process.

    Raises LabError where the environment names processes that cannot be joined.
    """
    world = os.environ.get("WORLD_SIZE", "").strip() or "1"
    try:
        if int(world) == 1:
            return
        if int(os.environ.get("RANK", 0)) >= int(world):  # the group would be waited for without end
            raise ValueError("a RANK below it was expected")
        if args.device == "cuda":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        distributed.init_process_group("nccl" if args.device == "cuda" else "gloo")
    except (ValueError, KeyError, RuntimeError) as error:
        start = "start with torchrun --nproc_per_node=N, or unset WORLD_SIZE for one process"
        raise LabError(f"WORLD_SIZE={world} in the environment: {start} ({reason(error)})") from error
    atexit.register(distributed.destroy_process_group)
    if distributed.get_rank():
        shown, args.out = args.out, tempfile.mkdtemp(prefix="lab3-process-")
        atexit.register(shutil.rmtree, args.out, ignore_errors=True)
        if args.resume and Path(shown).exists():
            shutil.copytree(shown, args.out, dirs_exist_ok=True)
        if getattr(args, "submit", None):
            args.submit = str(Path(args.out) / "submission.txt")
        args.baselines = False
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, for as long as the process lives
        os.environ["TQDM_DISABLE"] = "1"
        sys.stderr.isatty = lambda: False  # type: ignore[method-assign]  # so that tqdm draws no bars; errors are shown
    distributed.barrier()  # the first process writes only after the others have read the saved state that they resume


def share_out(model, loader, loss_function):
    """(loader, loss function) of this process; unchanged if it is the only one.

    The loader yields this process's part of every batch. The loss is the mean over the processes, and so are the
    model's gradients, by a hook, and at the end of a pass its floating-point buffers. On GPUs batch norm is computed
    over the whole batch.
    """
    if not distributed.is_initialized():
        return loader, loss_function
    if next(model.parameters()).is_cuda:
        torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(average_gradient)
    loader, loss_function = getattr(loader, "unshared", loader), getattr(loss_function, "unshared", loss_function)
    return SharedLoader(loader, model), SharedLoss(loss_function)


class SharedLoader:
    """This process's part of a DataLoader's batches; its other attributes, such as batch_sampler, are unchanged."""

    def __init__(self, loader, model):
        self.unshared, self.model = loader, model

    def __getattr__(self, name):
        return getattr(self.unshared, name)

    def __len__(self):
        return len(self.unshared)

    def __iter__(self):
        for batch in self.unshared:
            indices = share(len(batch[1]), distributed.get_rank(), distributed.get_world_size())
            yield tuple(tensor[indices] for tensor in batch)
        for buffer in self.model.buffers():
            if buffer.is_floating_point():
                average(buffer)


class SharedLoss:
    """A loss function whose value is the mean over the processes."""

    def __init__(self, loss_function):
        self.unshared = loss_function

    def __call__(self, outputs, targets):
        return SharedMean.apply(self.unshared(outputs, targets))


class SharedMean(torch.autograd.Function):
    """The mean of a value over the processes; its gradient is this process's own, since a hook averages gradients."""

    @staticmethod
    def forward(ctx, value):
        return average(value.clone())

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def share(size, rank, processes):
    """Indices of one process in a batch of `size` clips: equally many each; the first clips twice if needed."""
    indices = torch.arange(-(-size // processes) * processes) % size
    return indices[rank::processes]


def average_gradient(parameter):
    average(parameter.grad)


def average(tensor):
    """A tensor's mean over the processes, in place."""
    distributed.all_reduce(tensor)
    return tensor.div_(distributed.get_world_size())
