"""Speed as one statement that can be deleted: `model = accelerate(model, device)`.

The model keeps its class, its modules and its state_dict. On a CPU its CNN stages and bidirectional LSTMs get a forward
of their own, which checks the modules at every call. If all of them have exactly the types and options that this file
supports, it computes the same function in another order (fast_cnn.py, fast_lstm.py). In every other case, also when a
module is changed later, PyTorch runs the modules itself. On a GPU nothing is changed.
"""

import os
from functools import cache

import torch
from torch import nn
from torch.autograd import forward_ad
from torch.nn.modules import module as torch_module

from common.models import LSTMBackbone
from extras.speed.fast_cnn import conv_pool_eval, conv_pool_stage
from extras.speed.fast_lstm import bidirectional_summary

# PyTorch reads this at its first tensor (c10/core/impl/alloc_cpu.cpp), and then takes large tensors from the CPU in pages
# of 2 MB. With pages of 4 KB, half the time of a CNN's step is page faults. Without Linux's huge pages it does nothing.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

STAGE = (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.ReLU)
HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")


@cache
def default_attributes():
    """{type: (its forward, the names of its attributes)} of unchanged modules of the supported types.

    A module with another attribute, such as a forward of its own, has been changed. Computed at the first call, not at
    import: no tensor may be made before common.training.use_huge_pages.
    """
    with torch.random.fork_rng(devices=[]):  # their weights are random, but must not change the masks of dropout
        modules = (nn.Sequential(), nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1), nn.MaxPool2d(2), nn.ReLU(), nn.LSTM(1, 1))
    return {type(module): (type(module).forward, frozenset(vars(module))) for module in modules}


def accelerate(model, device="cpu"):
    """The model itself; on a CPU its CNN stages and bidirectional LSTMs of common/models.py run faster."""
    if torch.device(device).type != "cpu":
        return model
    for module in model.modules():
        if type(module) is nn.Sequential and tuple(map(type, module)) == STAGE and "forward" not in vars(module):
            vars(module)["forward"] = FastStage(module)
        elif type(module) is LSTMBackbone and "forward" not in vars(module):
            vars(module)["forward"] = FastSummary(module)
    return model


class FastStage:
    """The forward of one stage: x (B, C, T, F) -> (B, C', T // 2, F // 2)."""

    def __init__(self, stage):
        self.stage = stage

    def __call__(self, x):
        stage = self.stage
        if type(stage) is nn.Sequential and is_supported_stage(stage, x):
            conv, norm = stage[0], stage[1]
            if norm.training:
                return conv_pool_stage(x, conv, norm)
            if not needs_gradient(x, *stage.parameters()):
                return conv_pool_eval(x, conv, norm)
        return type(stage).forward(stage, x)


class FastSummary:
    """The forward of an LSTMBackbone: x (B, T, F), lengths (B,) -> (B, feature_size)."""

    def __init__(self, backbone):
        self.backbone = backbone

    def __call__(self, x, lengths):
        backbone = self.backbone
        if type(backbone) is LSTMBackbone and is_supported_lstm(backbone, x, lengths):
            return bidirectional_summary(backbone.lstm, x, lengths)
        return type(backbone).forward(backbone, x, lengths)


def is_supported_stage(stage, x):
    """Whether fast_cnn.py supports the types and options of the stage's four modules, and the input x."""
    children = list(stage)
    if tuple(map(type, children)) != STAGE or not all(map(is_unchanged, children)) or not is_plain_call(x, stage):
        return False
    conv, norm, pool, _ = children
    sizes = conv.kernel_size
    return (
        all(size % 2 for size in sizes)
        and conv.padding == tuple(size // 2 for size in sizes)
        and (conv.stride, conv.dilation, conv.groups, conv.padding_mode) == ((1, 1), (1, 1), 1, "zeros")
        and conv.bias is not None
        and norm.num_features == conv.out_channels
        and norm.affine
        and norm.track_running_stats
        and isinstance(norm.momentum, float)
        and None not in (norm.weight, norm.bias, norm.running_mean, norm.running_var, norm.num_batches_tracked)
        and all(pair(size) == (2, 2) for size in (pool.kernel_size, pool.stride))
        and (pair(pool.padding), pair(pool.dilation), pool.ceil_mode, pool.return_indices)
        == ((0, 0), (1, 1), False, False)
        and x.dim() == 4
        and len(x) > 0
        and x.shape[1] == conv.in_channels
        and min(x.shape[2:]) >= 2
    )


def is_supported_lstm(backbone, x, lengths):
    """Whether fast_lstm.py supports it: two directions, biases, no projection, lengths of 1 to T frames."""
    lstm = backbone.lstm
    return (
        type(lstm) is nn.LSTM
        and is_unchanged(lstm)
        and (lstm.bidirectional, lstm.batch_first, lstm.bias, lstm.proj_size) == (True, True, True, 0)
        and not (lstm.training and lstm.dropout)  # on packed sequences dropout draws other random numbers
        and is_plain_call(x, lstm)
        and x.dim() == 3
        and x.shape[2] == lstm.input_size
        and len(lengths) == len(x) > 0
        and int(lengths.min()) >= 1
        and int(lengths.max()) <= x.shape[1]
    )


def is_unchanged(module):
    """Whether a module has PyTorch's own forward, no hook and no additional attribute."""
    forward, attributes = default_attributes()[type(module)]
    return (
        type(module).forward is forward
        and vars(module).keys() <= attributes
        and not any(getattr(module, name) for name in HOOKS)
    )


def is_plain_call(x, module):
    """Whether all tensors are ordinary CPU tensors of one dtype, and no hook, mode or transform applies to the call."""
    tensors = [x, *(tensor for tensor in (*module.parameters(), *module.buffers()) if tensor.is_floating_point())]
    return (
        all(type(tensor) in (torch.Tensor, nn.Parameter) and tensor.device.type == "cpu" for tensor in tensors)
        and x.dtype in (torch.float32, torch.float64)
        and all(tensor.dtype == x.dtype for tensor in tensors)
        and not any(getattr(torch_module, f"_global{name}") for name in HOOKS)
        and not autocast_is_on()
        and not (torch.jit.is_tracing() or torch.compiler.is_compiling())
        and not torch._C._are_functorch_transforms_active()
        and torch._C._len_torch_dispatch_stack() == torch._C._len_torch_function_stack() == 0
        and forward_ad._current_level < 0
    )


def autocast_is_on():
    try:
        return torch.is_autocast_enabled("cpu")
    except TypeError:  # before PyTorch 2.4
        return torch.is_autocast_cpu_enabled()


def needs_gradient(*tensors):
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def pair(value):
    return value if isinstance(value, tuple) else (value, value)
