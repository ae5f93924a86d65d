"""The CNN's fast stages against the plain form: Conv2d, BatchNorm2d, ReLU and MaxPool2d one after the other."""

import pytest
import torch
from torch import nn

from common.models import CNNBackbone
from extras.speed import fast_cnn
from extras.speed.accelerate import accelerate
from extras.speed.fast_cnn import FirstStage, Stage, clips_in_piece, one_channel, over_pieces


class PlainStage(nn.Sequential):
    """The write-up's order: pooling last."""

    def __init__(self, inputs, outputs, kernel_size):
        convolution = nn.Conv2d(inputs, outputs, kernel_size, padding=kernel_size // 2)
        super().__init__(convolution, nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2))


def both(inputs, kernel_size=3, dtype=torch.float64, seed=0):
    """The same stage plain and fast, with negative, positive and zero weights of batch norm."""
    torch.manual_seed(seed)
    plain = PlainStage(inputs, 6, kernel_size).to(dtype)
    with torch.no_grad():
        plain[1].weight.copy_(torch.tensor([1.0, -0.7, 0.4, -1.2, 0.0, 0.9]))
        plain[1].bias.normal_()
    fast = accelerate(CNNBackbone(16, (inputs, 6), kernel_size).stages[1]).to(dtype)
    fast.load_state_dict(plain.state_dict())
    return plain, fast


def decibels(*shape, dtype=torch.float64):
    """Like a mel spectrogram: far from 0, partly zeros (padding), partly at the floor of -80 dB."""
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=dtype) * 15 - 50
    x[0, :, shape[2] // 2 :] = 0
    x[-1, :, :, : shape[3] // 3] = -80
    return x


@pytest.mark.parametrize(
    "shape", [(5, 1, 12, 8), (2, 1, 13, 8), (3, 1, 4, 9), (1, 1, 2, 2), (4, 3, 12, 8), (3, 3, 13, 7)]
)
@pytest.mark.parametrize("kernel_size", [3, 5])
# clips one by one, in twos or threes and a smaller rest, all together
@pytest.mark.parametrize("piece", [1, 1500, 10**6])
def test_output_gradients_and_running_statistics_are_the_plain_forms(shape, kernel_size, piece, monkeypatch):
    monkeypatch.setattr(fast_cnn, "PIECE", piece)
    monkeypatch.setattr(fast_cnn, "WINDOWS", 10)  # so that there are several parts, and a smaller one at the end
    plain, fast = both(shape[1], kernel_size)
    x = decibels(*shape)
    inputs = [x.clone().requires_grad_(shape[1] > 1) for _ in range(2)]
    found = []
    for stage, given in zip((plain, fast), inputs, strict=True):
        out = stage(given)
        weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(2), dtype=out.dtype)
        (out * weights).sum().backward()
        gradients = {name: parameter.grad for name, parameter in stage.named_parameters()}
        found.append((out.detach(), gradients, dict(stage.named_buffers()), given.grad))
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", [(5, 1, 12, 8), (5, 1, 13, 9), (5, 3, 12, 8)])
def test_evaluation_is_the_plain_forms(shape, monkeypatch):
    monkeypatch.setattr(fast_cnn, "WINDOWS", 10)
    plain, fast = both(shape[1])
    x = decibels(*shape)
    plain(x), fast(x)
    plain.eval(), fast.eval()
    with torch.no_grad():
        torch.testing.assert_close(fast(x), plain(x), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(fast(x), plain(x), rtol=1e-9, atol=1e-9)
    assert fast(x).requires_grad


def test_single_precision_is_the_plain_forms_to_rounding():
    plain, fast = both(1)
    exact, x = plain(decibels(4, 1, 64, 32)), decibels(4, 1, 64, 32, dtype=torch.float64).float()
    torch.testing.assert_close(fast.float()(x).double(), exact, rtol=1e-4, atol=1e-4)


def test_the_first_stage_has_a_form_of_its_own(monkeypatch):
    used = []
    nothing = torch.zeros(1), torch.zeros(6), torch.zeros(6)
    for stage in (FirstStage, Stage):
        monkeypatch.setattr(stage, "apply", lambda *args, stage=stage: used.append(stage) or nothing)
    for shape in ((2, 1, 12, 8), (2, 1, 13, 8), (2, 3, 12, 8)):
        both(shape[1])[1](decibels(*shape))
    assert used == [FirstStage, Stage, Stage]
    assert not one_channel(torch.zeros(1, 1, 4, 4), nn.Conv2d(1, 1, 5))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_results_do_not_depend_on_threads_and_their_number_is_restored(threads):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        _, fast = both(1, dtype=torch.float32)
        out = fast(decibels(7, 1, 32, 16, dtype=torch.float32))
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(
        out, both(1, dtype=torch.float32)[1](decibels(7, 1, 32, 16, dtype=torch.float32)), rtol=0, atol=0
    )


def test_an_error_in_one_clip_is_raised():
    with pytest.raises(ZeroDivisionError):
        over_pieces(lambda clip: 1 / int(clip), 1, torch.arange(-2, 3))


def test_pieces_are_in_order_with_their_items():
    found = over_pieces(lambda clips, name: (clips.tolist(), name), 2, torch.arange(5), ["a", "b", "c"])
    assert found == [([0, 1], "a"), ([2, 3], "b"), ([4], "c")]
    assert [clips_in_piece(torch.zeros(1, 1, frames, 128), 16) for frames in (2, 431, 1292)] == [244, 1, 1]
