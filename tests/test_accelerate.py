"""accelerate changes speed alone: edits of a network count, made before it or after it, and hooks are called."""

import copy
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from common.models import Classifier, CNNBackbone, LSTMBackbone, Regressor
from extras.speed import accelerate as speed
from extras.speed.accelerate import accelerate

REPOSITORY = Path(__file__).resolve().parent.parent
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
CHANNELS = (4, 6)
LENGTHS = torch.tensor([26, 17, 9])


def batch(dtype=torch.float32):
    """Three clips of unequal lengths in dB, zeros behind their ends: (3, 26, 16)."""
    x = torch.randn(3, 26, 16, generator=torch.Generator().manual_seed(1)) * 15 - 50
    for clip, length in zip(x, LENGTHS, strict=True):
        clip[length:] = 0
    return x.to(dtype)


def cnn():
    torch.manual_seed(0)
    model = Classifier(CNNBackbone(16, CHANNELS), 3)
    with torch.no_grad():
        for stage in model.backbone.stages:
            stage[1].weight.uniform_(-1, 1)
            stage[1].bias.normal_()
    return model


class LoudStage(nn.Sequential):
    def forward(self, x):
        return 3 * super().forward(x)


class LeakyMax(nn.MaxPool2d):
    def forward(self, x):
        return 0.5 * super().forward(x)


class SquaredConv(nn.Conv2d):
    def forward(self, x):
        return super().forward(x) ** 2 / 100


def stage_of(model, number=1):
    return model.backbone.stages[number]


def put(position, module, number=1):
    def edit(model):
        stage_of(model, number)[position] = module()

    return edit


def setting(position, name, value, number=1):
    def edit(model):
        setattr(stage_of(model, number)[position], name, value)

    return edit


def conv(**options):
    return lambda: nn.Conv2d(CHANNELS[0], CHANNELS[1], **{"kernel_size": 3, "padding": 1, **options})


def no_grad_fill(find):
    def edit(model):
        with torch.no_grad():
            find(model).fill_(0.3)

    return edit


def own_forward(model):
    stage_of(model).forward = lambda x: 2 * nn.Sequential.forward(stage_of(model), x)


def own_conv_forward(model):
    module = stage_of(model)[0]
    module.forward = lambda x: -nn.Conv2d.forward(module, x)


def other_class(model):
    stage_of(model).__class__ = LoudStage


def other_stage(model):
    old = stage_of(model)
    model.backbone.stages[1] = LoudStage(*old)


def added_stage(model):
    stages = model.backbone.stages
    stages.append(nn.Sequential(nn.Conv2d(CHANNELS[1], 4, 3, padding=1), nn.ELU(), nn.MaxPool2d(2)))


EDITS = {
    "average pooling": put(2, lambda: nn.AvgPool2d(2)),
    "overlapping pooling": put(2, lambda: nn.MaxPool2d(3, 2, 1)),
    "pooling over time alone": put(2, lambda: nn.MaxPool2d((2, 2), (2, 2), (1, 0))),
    "pooling with ceil_mode": setting(2, "ceil_mode", True),
    "no pooling": put(2, nn.Identity),
    "a subclass of max pooling": put(2, lambda: LeakyMax(2)),
    "GELU": put(3, nn.GELU),
    "leaky ReLU": put(3, lambda: nn.LeakyReLU(0.2)),
    "ReLU in place": setting(3, "inplace", True),
    "an appended dropout": lambda model: stage_of(model).append(nn.Dropout2d(0.5)),
    "an inserted module": lambda model: stage_of(model).insert(1, nn.Tanh()),
    "a removed module": lambda model: stage_of(model).pop(3),
    "dilation": setting(0, "dilation", (2, 2)),
    "circular padding": put(0, conv(padding_mode="circular")),
    "reflected padding in stage 1": put(0, lambda: nn.Conv2d(1, CHANNELS[0], 3, padding=1, padding_mode="reflect"), 0),
    "stride of 2": setting(0, "stride", (2, 2)),
    "no bias": put(0, conv(bias=False)),
    "kernel of 4": put(0, conv(kernel_size=4)),
    "kernel of 5": put(0, conv(kernel_size=5, padding=2)),
    "kernel of 5 by 3": put(0, conv(kernel_size=(5, 3), padding=(2, 1))),
    "too little padding": put(0, conv(padding=0)),
    "padding by name": setting(0, "padding", "same"),
    "groups": put(0, conv(groups=2)),
    "a subclass of the convolution": put(0, lambda: SquaredConv(CHANNELS[0], CHANNELS[1], 3, padding=1)),
    "group norm": put(1, lambda: nn.GroupNorm(2, CHANNELS[1])),
    "no norm": put(1, nn.Identity),
    "instance norm": put(1, lambda: nn.InstanceNorm2d(CHANNELS[1], affine=True)),
    "norm without affine": put(1, lambda: nn.BatchNorm2d(CHANNELS[1], affine=False)),
    "norm without running statistics": put(1, lambda: nn.BatchNorm2d(CHANNELS[1], track_running_stats=False)),
    "cumulative statistics": put(1, lambda: nn.BatchNorm2d(CHANNELS[1], momentum=None)),
    "other momentum": setting(1, "momentum", 0.5),
    "other eps": setting(1, "eps", 1.0),
    "norm frozen": lambda model: stage_of(model)[1].requires_grad_(False),
    "filters frozen": lambda model: stage_of(model)[0].requires_grad_(False),
    "filters set": no_grad_fill(lambda model: stage_of(model)[0].weight),
    "filters of stage 1 set": no_grad_fill(lambda model: stage_of(model, 0)[0].weight),
    "new filters": lambda model: setattr(stage_of(model)[0], "weight", nn.Parameter(torch.full((6, 4, 3, 3), 0.1))),
    "weight norm": lambda model: parametrizations.weight_norm(stage_of(model)[0]),
    "spectral norm": lambda model: parametrizations.spectral_norm(stage_of(model)[0]),
    "pruned filters": lambda model: prune.l1_unstructured(stage_of(model)[0], "weight", 0.5),
    "a stage's own forward": own_forward,
    "a convolution's own forward": own_conv_forward,
    "a stage of another class": other_class,
    "another stage": other_stage,
    "one more stage": added_stage,
    "outputs changed by a hook": lambda model: stage_of(model)[0].register_forward_hook(
        lambda module, args, out: out.abs()
    ),
    "a hook on a stage": lambda model: stage_of(model).register_forward_hook(lambda module, args, out: 0.5 * out),
    "a hook before a module": lambda model: stage_of(model)[2].register_forward_pre_hook(
        lambda module, args: (args[0] + 1,)
    ),
    "gradients changed by a hook": lambda model: stage_of(model)[1].register_full_backward_hook(
        lambda module, into, out: tuple(each if each is None else 2 * each for each in into)
    ),
    "float64": lambda model: model.double(),
}


def outcome(model, training, x):
    """All results of a pass: output, gradients of weights and input, buffers."""
    model.train(training)
    torch.manual_seed(3)
    x = x.clone().requires_grad_()
    out = summary(model, x)
    (out * torch.arange(out.numel()).reshape(out.shape).cos()).sum().backward()
    gradients = {name: weight.grad for name, weight in model.named_parameters()}
    with torch.no_grad():
        torch.manual_seed(4)
        again = summary(model, x)
    return out.detach(), again, gradients, dict(model.named_buffers()), x.grad


def summary(model, x):
    """Output of the stages, whose size an edit may change; of an LSTM its summary."""
    return model(x, LENGTHS) if isinstance(model, LSTMBackbone) else model.backbone.frames(x, LENGTHS)[0]


def assert_same(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize("training", [True, False])
def test_what_is_edited_counts_before_and_after(name, training):
    x = batch(torch.float64 if name == "float64" else torch.float32)
    plain, before, after = cnn(), cnn(), accelerate(cnn())
    EDITS[name](plain)
    EDITS[name](before)
    before = accelerate(before)
    EDITS[name](after)
    after.load_state_dict(plain.state_dict())  # an edit may have made new weights
    before.load_state_dict(plain.state_dict())
    expected = outcome(plain, training, x)
    assert_same(outcome(before, training, x), expected)
    assert_same(outcome(after, training, x), expected)


def test_the_edits_change_something():
    unchanged = outcome(cnn(), True, batch())[0]
    silent = {
        "ReLU in place",
        "padding by name",
        "norm frozen",
        "filters frozen",
        "gradients changed by a hook",
        "float64",
    }
    silent |= {"other momentum", "weight norm", "spectral norm"}  # batch norm undoes a factor
    for name, edit in EDITS.items():
        model = cnn()
        edit(model)
        out = outcome(model, True, batch(torch.float64 if name == "float64" else torch.float32))[0]
        same = out.shape == unchanged.shape and torch.allclose(out.float(), unchanged, atol=1e-3)
        assert same == (name in silent), name


def test_the_fast_path_is_taken_where_nothing_is_edited(monkeypatch):
    used = []
    for name in ("conv_pool_stage", "conv_pool_eval", "bidirectional_summary"):
        real = getattr(speed, name)
        monkeypatch.setattr(speed, name, lambda *args, real=real, name=name: used.append(name) or real(*args))
    model = accelerate(cnn())
    model(batch(), LENGTHS)
    assert used == ["conv_pool_stage"] * 2
    with torch.no_grad():
        model.eval()(batch(), LENGTHS)
    assert used == ["conv_pool_stage"] * 2 + ["conv_pool_eval"] * 2
    model(batch(), LENGTHS)  # in evaluation with gradients PyTorch's own
    accelerate(Regressor(LSTMBackbone(16, 5, 2, bidirectional=True)))(batch(), LENGTHS)
    assert used[4:] == ["bidirectional_summary"]
    EDITS["GELU"](model)
    model.train()(batch(), LENGTHS)
    assert used[5:] == ["conv_pool_stage"]  # the stage that was not edited


def note(calls, what, *_):
    calls.append(what)


def test_hooks_are_called_as_often_as_without():
    counts = []
    for model in (cnn(), accelerate(cnn())):
        calls = []
        for name, module in model.named_modules():
            module.register_forward_pre_hook(partial(note, calls, ("before", name)))
            module.register_forward_hook(partial(note, calls, ("after", name)))
            module.register_full_backward_hook(partial(note, calls, ("gradient", name)))
        outcome(model, True, batch())
        counts.append(sorted(calls))
    assert counts[0] == counts[1] and len(counts[0]) > 20


def test_a_hook_for_all_modules_is_called():
    counts = []
    for model in (cnn(), accelerate(cnn())):
        calls = []
        handle = nn.modules.module.register_module_forward_hook(partial(note, calls, "module"))
        try:
            model(batch(), LENGTHS)
        finally:
            handle.remove()
        counts.append(calls)
    assert counts[0] == counts[1]


@pytest.mark.parametrize("training", [True, False])
def test_autocast_functional_calls_and_modes_are_pytorchs_own(training):
    plain, fast = cnn().train(training), accelerate(cnn()).train(training)
    with torch.autocast("cpu", torch.bfloat16):
        one, other = plain(batch(), LENGTHS), fast(batch(), LENGTHS)
        assert one.dtype == other.dtype == torch.bfloat16 and torch.equal(one, other)
    weights = {name: 1.1 * weight.detach() for name, weight in plain.named_parameters()}
    called = [torch.func.functional_call(model, weights, (batch(), LENGTHS)) for model in (plain, fast)]
    assert_same(called[1], called[0])
    gradients = [
        torch.func.grad(lambda w, model=model: torch.func.functional_call(model, w, (batch(), LENGTHS)).sum())(weights)
        for model in (plain.eval(), fast.eval())
    ]
    assert_same(gradients[1], gradients[0])


def test_a_second_derivative_is_right_or_an_error_and_never_wrong():
    model = accelerate(cnn())
    out = model(batch(), LENGTHS).sum()
    (gradient,) = torch.autograd.grad(out, model.backbone.stages[1][0].weight, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.square().sum().backward()


def test_class_attributes_weights_and_copies_stay():
    plain, fast = cnn(), cnn()
    assert accelerate(fast) is fast and accelerate(accelerate(fast)) is fast
    assert type(fast) is Classifier and fast.state_dict().keys() == plain.state_dict().keys()
    assert [type(module) for module in fast.modules()] == [type(module) for module in plain.modules()]
    copied = copy.deepcopy(fast)
    EDITS["GELU"](copied)
    EDITS["GELU"](plain)
    assert_same(outcome(copied, True, batch()), outcome(plain, True, batch()))
    assert_same(outcome(fast, True, batch())[0], outcome(cnn(), True, batch())[0])  # the original still has its ReLU


LSTM_EDITS = {
    "as it is": lambda model: None,
    "batch second": lambda model: setattr(model.lstm, "batch_first", True),
    "no bias": lambda model: setattr(
        model, "lstm", nn.LSTM(16, 5, 2, batch_first=True, bidirectional=True, bias=False)
    ),
    "projection": lambda model: setattr(
        model, "lstm", nn.LSTM(16, 5, 2, batch_first=True, bidirectional=True, proj_size=3)
    ),
    "a GRU": lambda model: setattr(model, "lstm", CellFree(16, 5, 2, batch_first=True, bidirectional=True)),
    "weights set": lambda model: nn.init.constant_(model.lstm.weight_hh_l0_reverse, 0.2),
    "new weights": lambda model: setattr(model.lstm, "weight_ih_l1", nn.Parameter(torch.full((20, 10), 0.05))),
    "a hook": lambda model: model.lstm.register_forward_hook(
        lambda module, args, out: (out[0], (out[1][0] * 2, out[1][1]))
    ),
    "dropout": lambda model: setattr(model.lstm, "dropout", 0.5),
    "float64": lambda model: model.double(),
}


class CellFree(nn.GRU):
    """A GRU that returns its state twice, where an LSTM returns state and cell."""

    def forward(self, x):
        out, hidden = super().forward(x)
        return out, (hidden, hidden)


@pytest.mark.parametrize("name", LSTM_EDITS)
@pytest.mark.parametrize("training", [True, False])
def test_edits_of_a_bidirectional_lstm_count(name, training):
    def fresh():
        torch.manual_seed(0)
        return LSTMBackbone(16, 5, 2, bidirectional=True)

    x = batch(torch.float64 if name == "float64" else torch.float32) / 50
    plain, before, after = fresh(), fresh(), accelerate(fresh())
    for model in (plain, before, after):
        torch.manual_seed(5)
        LSTM_EDITS[name](model)
    before = accelerate(before)
    expected = outcome(plain, training, x)
    assert_same(outcome(before, training, x), expected)
    assert_same(outcome(after, training, x), expected)


def test_lengths_that_do_not_fit_are_clamped_as_in_the_plain_network():
    model = accelerate(LSTMBackbone(16, 5, 1, bidirectional=True))
    for lengths, clamped in (([26, 17, 0], [26, 17, 1]), ([26, 17, 27], [26, 17, 26])):
        torch.testing.assert_close(model(batch(), torch.tensor(lengths)), model(batch(), torch.tensor(clamped)))


@pytest.mark.skipif(
    not HUGE_PAGES.exists() or "[never]" in HUGE_PAGES.read_text(), reason="this system has no huge pages"
)
def test_large_tensors_of_a_step_are_in_huge_pages():
    """PyTorch reads the variable when it makes its first tensor, so importing a step must not make one."""
    code = (
        "import step5_lstm, step7_cnn, compete, torch\n"
        "large = torch.ones(50_000_000)\n"
        "print([line.split()[1] for line in open('/proc/self/smaps_rollup') if line.startswith('AnonHuge')][0])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert int(done.stdout) > 10_000  # kB; 200 MB where memory is not fragmented


def test_no_random_number_is_taken():
    """Otherwise dropout would draw other masks in the first pass of a process."""
    speed.default_attributes.cache_clear()
    model = accelerate(cnn())
    torch.manual_seed(0)
    before = torch.get_rng_state()
    model(batch(), LENGTHS)
    assert torch.equal(torch.get_rng_state(), before)
