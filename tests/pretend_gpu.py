"""A pretend GPU: a device called "gpu" whose tensors hold ordinary CPU values, and which refuses what a GPU refuses.

    register()                       # once, before the first use; PyTorch 2.9 or newer
    model.to("gpu"), x.to("gpu"), torch.zeros(3, device="gpu"), loss.backward(), optimizer.step(), x.cpu()

Real numbers and real gradients: a training step on it ends with the CPU's weights but for rounding. It refuses an
operation in which its tensors meet the CPU's, but for what CUDA lets pass: copies, a single number, an index of a GPU
tensor, the lengths of pack_padded_sequence; and it refuses .numpy(). It knows nothing of autocast, streams, memory or
speed. Nothing here imports the project.

With the threads that PyTorch keeps for each device, no test in this process could fork and train any more. So
register() lets it start its threads while there is no such device, and training here runs under `with one_thread():`.
"""

import functools
from contextlib import ExitStack

import torch

OLDEST = (2, 9)  # PyTorch that takes a device from Python
NAME = "gpu"
aten = torch.ops.aten

# CUDA lets tensors of both devices meet here: {operation: places of the arguments that may be the CPU's, None for all}.
CROSSING = {
    "aten::copy_": None,
    "aten::_to_copy": None,
    "aten::index": (1,),
    "aten::index_put": (1,),
    "aten::index_put_": (1,),
    "aten::_index_put_impl_": (1,),
    "aten::_pack_padded_sequence": (1,),  # lengths
    "aten::_pack_padded_sequence_backward": (2,),  # batch sizes
    "aten::_pad_packed_sequence": (1,),
    "aten::lstm.data": (1,),
}
# Operations beside the pointwise ones that take a single number from the CPU.
TAKES_NUMBER = (
    "aten::fill",
    "aten::fill_",
    "aten::masked_fill",
    "aten::masked_fill_",
    "aten::index_put",
    "aten::index_put_",
)
# Operations whose second result, how many clips or frames, is the CPU's on every device.
SECOND_IS_CPUS = ("aten::_pack_padded_sequence", "aten::_pad_packed_sequence")


def is_supported():
    return tuple(int(part) for part in torch.__version__.split(".")[:2]) >= OLDEST


class OnGpu(torch.Tensor):
    """A tensor of the pretend GPU; `raw`: the CPU tensor with its values."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, raw, requires_grad=False):
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            raw.shape,
            strides=raw.stride(),
            storage_offset=raw.storage_offset(),
            dtype=raw.dtype,
            layout=raw.layout,
            device=torch.device(NAME, 0),
            requires_grad=requires_grad,
        )
        made.raw = raw
        return made

    def __init__(self, raw, requires_grad=False):
        pass

    def __repr__(self):
        return f"{self.raw!r} on the pretend GPU"

    def tolist(self):
        return self.detach().cpu().tolist()

    def __format__(self, spec):
        return format(self.detach().cpu(), spec)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        rule, kwargs = rule_of(func), dict(kwargs or {})
        known = {}  # the arguments' own tensors by their values

        def bare(value, place):
            if isinstance(value, (list, tuple)):
                return type(value)([bare(each, place) for each in value])
            if not isinstance(value, torch.Tensor):
                return value
            if isinstance(value, OnGpu):
                known[id(value.raw)] = value
                return value.raw
            rule.refuse_cpu(value, place)
            known[id(value)] = value
            return value

        if rule.name == "aten::_pack_padded_sequence" and isinstance(args[1], OnGpu):
            raise RuntimeError("pack_padded_sequence: the lengths were expected on the CPU")
        bare_args = [bare(value, place) for place, value in enumerate(args)]
        kwargs = {name: bare(value, rule.places[name]) for name, value in kwargs.items()}
        to_cpu = False
        if rule.device is not None:
            given = bare_args if rule.device < len(bare_args) else kwargs
            key = rule.device if given is bare_args else "device"
            wanted = given[key] if given is bare_args else given.get(key)
            if wanted is not None:
                to_cpu = torch.device(wanted).type == "cpu"
                given[key] = torch.device("cpu")
        with ExitStack() as ordinary:
            if torch.is_inference_mode_enabled():  # a view made in it would not be that of an ordinary tensor
                ordinary.enter_context(torch.inference_mode(False))
                ordinary.enter_context(torch.no_grad())
            found = rule.run(*bare_args, **kwargs)
            if to_cpu:
                return found.clone() if id(found) in known else found
            if rule.name in SECOND_IS_CPUS:
                return OnGpu(found[0]), found[1]
            return wrapped(found, known, rule)


class Rule:
    """What an operation may meet, and how it is run."""

    def __init__(self, func):
        arguments = func._schema.arguments
        self.name, self.run = func._schema.name, OWN.get(func, func)
        self.places = {argument.name: place for place, argument in enumerate(arguments)}
        self.device = self.places.get("device")
        full = f"{self.name}.{func._schema.overload_name}"
        self.may_cross = CROSSING.get(full, CROSSING.get(self.name, ()))
        self.number_fits = torch.Tag.pointwise in func.tags or self.name in TAKES_NUMBER
        written = [bool(argument.alias_info and argument.alias_info.is_write) for argument in arguments]
        self.written = [place for place, is_written in enumerate(written) if is_written]

    def refuse_cpu(self, tensor, place):
        """RuntimeError where CUDA would not take this tensor of the CPU as the argument at this place."""
        if self.may_cross is None or place in self.may_cross:
            return
        if tensor.dim() > 0 or not self.number_fits or place in self.written:
            meets = f"a tensor of shape {tuple(tensor.shape)} is the CPU's, another one the GPU's"
            raise RuntimeError(f"{self.name}: expected all tensors on the same device, but {meets}")


@functools.cache
def rule_of(func):
    return Rule(func)


def wrapped(value, known, rule):
    """A result on the GPU; where it is one of the arguments, changed in place, that argument's own tensor."""
    if isinstance(value, (list, tuple)):
        return type(value)([wrapped(each, known, rule) for each in value])
    if not isinstance(value, torch.Tensor):
        return value
    own = known.get(id(value))
    if own is None:
        return OnGpu(value)
    if own.shape != value.shape or own.stride() != value.stride():
        raise NotImplementedError(f"{rule.name} changes a shape in place, which the pretend GPU does not know")
    return own


def lstm_cell(from_input, from_state, cell, input_bias=None, state_bias=None):
    """aten::_thnn_fused_lstm_cell: two parts of the gates (B, 4 H), cell (B, H) -> state, cell, gates."""
    gates = from_input + from_state
    if input_bias is not None:
        gates = gates + input_bias + state_bias
    enter, forget, new, leave = gates.chunk(4, dim=1)
    enter, forget, new, leave = enter.sigmoid(), forget.sigmoid(), new.tanh(), leave.sigmoid()
    after = forget * cell + enter * new
    return leave * after.tanh(), after, torch.cat([enter, forget, new, leave], dim=1)


def lstm_cell_backward(grad_state, grad_cell, before, after, gates, has_bias):
    """aten::_thnn_fused_lstm_cell_backward_impl: gradients of gates (B, 4 H), of the cell before, of a bias (4 H,)."""
    enter, forget, new, leave = gates.chunk(4, dim=1)
    squashed = after.tanh()
    grad_state = torch.zeros_like(after) if grad_state is None else grad_state
    grad_after = grad_state * leave * (1 - squashed**2) + (0 if grad_cell is None else grad_cell)
    parts = [
        grad_after * new * enter * (1 - enter),
        grad_after * before * forget * (1 - forget),
        grad_after * enter * (1 - new**2),
        grad_state * squashed * leave * (1 - leave),
    ]
    grad_gates = torch.cat(parts, dim=1)
    return grad_gates, grad_after * forget, grad_gates.sum(dim=0) if has_bias else None


# What the CPU has no kernel for.
OWN = {
    aten._thnn_fused_lstm_cell.default: lstm_cell,
    aten._thnn_fused_lstm_cell_backward_impl.default: lstm_cell_backward,
}


def on_cpu(func):
    """A function that makes a tensor, as the device's kernel: the CPU makes it."""

    def make(*args, device=None, pin_memory=None, **kwargs):
        return OnGpu(func(*args, device="cpu", **kwargs))

    return make


def empty(size, *, dtype=None, layout=None, device=None, pin_memory=None, memory_format=None):
    return OnGpu(torch.empty(size, dtype=dtype, memory_format=memory_format or torch.contiguous_format))


def copy_from(source, target, non_blocking=False):
    """The last step of torch.tensor(numbers, device="gpu") and of new_tensor."""
    pair = [tensor.raw if isinstance(tensor, OnGpu) else tensor for tensor in (target, source)]
    pair[0].copy_(pair[1])
    return target


KERNELS = {"empty.memory_format": empty, "_copy_from": copy_from}
for _made in (
    "empty_strided",
    "arange",
    "arange.start",
    "arange.start_step",
    "randperm",
    "randperm.generator",
    "eye",
    "eye.m",
):
    _packet, _, _overload = _made.partition(".")
    KERNELS[_made] = on_cpu(getattr(getattr(aten, _packet), _overload or "default"))

_library = []


def register():
    """Makes "gpu" a device of this process, once."""
    if _library:
        return
    torch.ones(1, requires_grad=True).sum().backward()  # threads of autograd start now, when they are none
    torch.utils.backend_registration._setup_privateuseone_for_python_backend(NAME)
    _library.append(torch.library.Library("aten", "IMPL"))
    for name, kernel in KERNELS.items():
        _library[0].impl(name, kernel, "PrivateUse1")


def one_thread():
    """The context in which backward() runs in the calling thread."""
    return torch.autograd.set_multithreading_enabled(False)
