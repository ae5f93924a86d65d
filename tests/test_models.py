import copy

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from common.errors import LabError
from common.models import Classifier, CNNBackbone, LSTMBackbone, mask_padding
from extras.speed.fast_lstm import reverse_within_length

LENGTHS = torch.tensor([23, 40, 17, 31])


def batch(dtype=torch.float64, features=128):
    x = torch.randn(4, 40, features, generator=torch.Generator().manual_seed(0), dtype=dtype) * 20 - 40
    for clip, length in zip(x, LENGTHS, strict=True):
        clip[length:] = 0
    return x


def networks(dtype):
    torch.manual_seed(0)
    networks = {
        "lstm": Classifier(LSTMBackbone(128, 16, 2), 5),
        "two directions": Classifier(LSTMBackbone(128, 16, 2, bidirectional=True), 5),
        "cnn": Classifier(CNNBackbone(channels=(4, 6, 8, 10)), 5),
    }
    networks["cnn"](batch(torch.float32), LENGTHS)  # gives batch norm statistics that are not 0 and 1
    return {name: network.eval().to(dtype) for name, network in networks.items()}


@pytest.mark.parametrize("name", ["lstm", "two directions", "cnn"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-4)])
def test_more_padding_changes_no_prediction(name, dtype, tolerance):
    network, x = networks(dtype)[name], batch(dtype)
    alone = torch.cat([network(clip[None, :length], length[None]) for clip, length in zip(x, LENGTHS, strict=True)])
    together = network(x, LENGTHS)
    longer = network(nn.functional.pad(x, (0, 0, 0, 33)), LENGTHS)
    assert (together - alone).abs().max() < tolerance and (longer - alone).abs().max() < tolerance
    assert alone.std(dim=0).min() > 1e-5  # clips differ, so the equality says something


@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_unpacked_lstm_is_the_packed_one_values_and_gradients(bidirectional):
    torch.manual_seed(1)
    backbone = LSTMBackbone(128, 8, 2, bidirectional).double()
    x = (batch() / 20).requires_grad_()
    ours = backbone(x, LENGTHS)
    states = backbone.lstm(pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False))[1][0]
    packed = torch.cat([states[-2], states[-1]], 1) if bidirectional else states[-1]
    assert ours.shape == (4, backbone.feature_size)
    torch.testing.assert_close(ours, packed)
    weights = torch.randn_like(packed)
    mine = torch.autograd.grad((ours * weights).sum(), [x, *backbone.parameters()])
    theirs = torch.autograd.grad((packed * weights).sum(), [x, *backbone.parameters()])
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_both_directions_reach_the_result():
    backbone = LSTMBackbone(3, 4, 1, bidirectional=True)
    assert backbone.lstm.weight_ih_l0_reverse.shape == (16, 3)
    x = torch.randn(1, 6, 3)
    before = backbone(x, torch.tensor([6]))
    with torch.no_grad():
        backbone.lstm.weight_ih_l0_reverse += 1
    after = backbone(x, torch.tensor([6]))
    assert torch.equal(before[:, :4], after[:, :4]) and not torch.allclose(before[:, 4:], after[:, 4:])


def test_clips_are_reversed_within_their_own_length():
    x = torch.tensor([[1.0, 2, 3, 0], [4, 5, 6, 7]])[:, :, None]
    assert reverse_within_length(x, torch.tensor([3, 4]))[:, :3, 0].tolist() == [[3, 2, 1], [7, 6, 5]]


def plain_stages(backbone, x):
    """The write-up's stage as it is usually written: convolution, batch norm, ReLU, max pooling."""
    x = x.unsqueeze(1).contiguous()
    for conv, norm, _, _ in backbone.stages:
        x = nn.functional.max_pool2d(torch.relu(norm(conv(x))), 2)
    return x


@pytest.mark.parametrize("training", [False, True])
def test_pooling_before_relu_is_the_same_network(training):
    torch.manual_seed(0)
    fast = CNNBackbone(channels=(4, 6, 8, 10)).double().train(training)
    plain = copy.deepcopy(fast)
    x = batch()
    full = torch.full((4,), x.shape[1])
    one = fast(x, full)
    other = plain_stages(plain, x).mean(dim=2).flatten(1)
    torch.testing.assert_close(one, other)
    one.square().sum().backward()
    other.square().sum().backward()
    for (name, mine), (_, theirs) in zip(fast.named_parameters(), plain.named_parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, msg=name)
    torch.testing.assert_close(fast.state_dict(), plain.state_dict())


def test_the_cnn_keeps_its_frequency_rows():
    assert CNNBackbone().feature_size == 128 * 8


@pytest.mark.parametrize("frames", [1, 5, 16, 17])
def test_very_short_clips_are_taken(frames):
    network = networks(torch.float64)["cnn"]
    x = torch.randn(1, frames, 128, dtype=torch.float64)
    length = torch.tensor([frames])
    torch.testing.assert_close(network(x, length), network(nn.functional.pad(x, (0, 0, 0, 50)), length))


def test_masking_touches_only_the_padding():
    x = torch.ones(2, 3, 4, 5)
    masked = mask_padding(x, torch.tensor([2, 4]))
    assert masked[0, :, 2:].sum() == 0 and masked.sum() == x.sum() - 2 * 3 * 5
    assert torch.equal(mask_padding(x, torch.tensor([4, 4])), x)


def test_one_clip_does_not_depend_on_its_batch_mates_in_evaluation():
    network, x = networks(torch.float64)["cnn"], batch()
    torch.testing.assert_close(network(x, LENGTHS)[2:3], network(x[2:3], LENGTHS[2:3]))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ["lstm", "two directions", "cnn"])
def test_lengths_outside_of_the_clip_are_clamped(name, training):
    network, x = networks(torch.float64)[name].train(training), batch()
    for given, meant in (([23, 41, 17, 500], [23, 40, 17, 40]), ([0, 40, -3, 31], [1, 40, 1, 31])):
        torch.testing.assert_close(network(x, torch.tensor(given)), network(x, torch.tensor(meant)), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_mels": 12}, "n_mels from 16 on .*n_mels=12"),
        ({"channels": (4,) * 8}, "n_mels from 256 on"),
        ({"channels": ()}, "at least one stage"),
        ({"channels": (4, 0)}, "one filter"),
        ({"kernel_size": 2}, "odd kernel"),
        ({"kernel_size": -1}, "odd kernel"),
    ],
)
def test_a_cnn_without_features_is_refused(options, words):
    with pytest.raises(LabError, match=words):
        CNNBackbone(**options)
    assert CNNBackbone(12, (4, 4, 4)).feature_size == 4 and CNNBackbone(128, (1,) * 7).feature_size == 1


def test_a_single_class_and_dropout_without_a_second_layer_are_told():
    with pytest.raises(LabError, match="two classes"):
        Classifier(CNNBackbone(), 1)
    with pytest.warns(UserWarning, match="dropout"):
        LSTMBackbone(3, 4, 1, dropout=0.5)


def test_swapping_clips_swaps_predictions():
    for network in networks(torch.float64).values():
        order = torch.tensor([2, 0, 3, 1])
        torch.testing.assert_close(network(batch()[order], LENGTHS[order]), network(batch(), LENGTHS)[order])


@pytest.mark.parametrize("bidirectional", [False, True])
def test_dropout_stands_between_layers_and_in_training_alone(bidirectional):
    torch.manual_seed(0)
    backbone = LSTMBackbone(128, 8, 2, bidirectional=bidirectional, dropout=0.5)
    x, lengths = torch.randn(3, 12, 128), torch.tensor([12, 7, 4])
    assert not torch.allclose(backbone(x, lengths), backbone(x, lengths))
    backbone.eval()
    assert torch.equal(backbone(x, lengths), backbone(x, lengths))
