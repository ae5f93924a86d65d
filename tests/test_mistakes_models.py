"""Mistakes in the networks: batch norm, heads, an LSTM's directions and last steps, and axes that get lost."""

import numpy as np
import pytest
import torch
from mistakes import Clips, FirstFrame, noise, tell_apart
from torch import nn

from common.dataset import make_loader
from common.models import Classifier, CNNBackbone, LSTMBackbone, Regressor, last_frame
from extras.speed.fast_lstm import bidirectional_lstm

pytestmark = pytest.mark.usefixtures("same_weights_in_every_run")


def test_07_batch_norm_that_is_made_in_forward_or_keeps_no_statistics():
    class MadeInForward(CNNBackbone):
        def __init__(self, *options, **more):
            super().__init__(*options, **more)
            for stage in self.stages:
                stage[1] = nn.Identity()

        def forward(self, x, lengths):
            x = x.unsqueeze(1)
            for conv, _, pool, relu in self.stages:
                x = conv(x)
                x = relu(pool(nn.BatchNorm2d(x.shape[1])(x)))
            return x.mean(dim=2).flatten(1)

    class Untracked(CNNBackbone):
        def __init__(self, *options, **more):
            super().__init__(*options, **more)
            for number, (conv, norm, pool, relu) in enumerate(self.stages):
                self.stages[number] = nn.Sequential(
                    conv, nn.BatchNorm2d(norm.num_features, track_running_stats=False), pool, relu
                )

    def check_mates(backbone):
        model = backbone(channels=(2, 2)).eval()
        x, lengths = noise(3, 8, 128), torch.full((3,), 8)
        alone, together = model(x[:1], lengths[:1]), model(x, lengths)[:1]
        assert torch.allclose(alone, together, atol=1e-5), "a clip's result depends on the others of its batch"

    def check_saved(backbone):
        saved = [name for name in backbone(channels=(2, 2)).state_dict() if name.endswith("running_var")]
        assert len(saved) == 2, "its statistics are not in the state dict"

    for check, words in ((check_mates, "depends on the others"), (check_saved, "not in the state dict")):
        tell_apart(check, CNNBackbone, (words, MadeInForward), (words, Untracked))


def test_10_ten_class_head_kept_for_regression():
    class Argmax(Classifier):
        def forward(self, x, lengths):
            return super().forward(x, lengths).argmax(dim=1).float()

    class Largest(Classifier):
        def forward(self, x, lengths):
            return super().forward(x, lengths).max(dim=1).values

    def check(regressor):
        model, lengths = regressor(FirstFrame(4)), torch.full((8,), 3)
        one, other = noise(8, 3, 4, seed=1), noise(8, 3, 4, seed=2)
        assert model(one, lengths).shape == (8,), "not one value for each clip"
        between = (model(one, lengths) + model(other, lengths)) / 2
        assert torch.allclose(model((one + other) / 2, lengths), between, atol=1e-5), (
            "the value is picked from several outputs"
        )

    tell_apart(
        check,
        Regressor,
        ("not one value for each clip", lambda backbone: Classifier(backbone, 10)),
        ("picked from several", lambda backbone: Argmax(backbone, 10)),
        ("picked from several", lambda backbone: Largest(backbone, 10)),
    )


def test_21_second_direction_asked_for_but_not_there():
    class FlagForTheHeadAlone(LSTMBackbone):
        def __init__(self, input_dim, rnn_size, num_layers, bidirectional):
            super().__init__(input_dim, rnn_size, num_layers)
            self.feature_size = rnn_size * (2 if bidirectional else 1)

    class LastFrameOfBoth(LSTMBackbone):
        def forward(self, x, lengths):
            return last_frame(bidirectional_lstm(self.lstm, x, lengths), lengths)

    def check(backbone):
        model = backbone(3, 4, 1, bidirectional=True)
        assert "lstm.weight_ih_l0_reverse" in model.state_dict(), "the LSTM has one direction"
        x, lengths = noise(1, 6, 3), torch.tensor([6])
        other_end, other_start = x.clone(), x.clone()
        other_end[:, -1] += 1
        other_start[:, 0] += 1
        result = model(x, lengths)
        assert result.shape == (1, model.feature_size) == (1, 8)
        assert not torch.allclose(result[:, :4], model(other_end, lengths)[:, :4])
        assert not torch.allclose(result[:, 4:], model(other_start, lengths)[:, 4:]), (
            "backwards it has not read the clip"
        )

    tell_apart(
        check, LSTMBackbone, ("has one direction", FlagForTheHeadAlone), ("has not read the clip", LastFrameOfBoth)
    )


def test_22_batch_first_left_out():
    class TimeFirst(LSTMBackbone):
        def __init__(self, input_dim, rnn_size):
            super().__init__(input_dim, rnn_size)
            self.lstm = nn.LSTM(input_dim, rnn_size)

    def check(backbone):
        model, x, lengths = backbone(3, 4), noise(5, 6, 3), torch.tensor([6, 4, 5, 3, 6])
        order = torch.tensor([3, 0, 4, 1, 2])
        result, permuted = model(x, lengths), model(x[order], lengths[order])
        assert torch.allclose(result[order], permuted, atol=1e-6), "a clip's result depends on its place in the batch"

    tell_apart(check, LSTMBackbone, ("depends on its place", TimeFirst))


def test_23_last_step_read_in_the_padding_or_among_the_logits():
    class PaddedEnd(LSTMBackbone):
        def forward(self, x, lengths):
            return self.lstm(x)[0][:, -1]

    class BackwardStateAtTheLastFrame(LSTMBackbone):
        def forward(self, x, lengths):
            return last_frame(self.lstm(x)[0], lengths)

    class HalvesOfTheLogits(nn.Module):
        def __init__(self, backbone, num_classes):
            super().__init__()
            self.backbone, self.head, self.half = (
                backbone,
                nn.Linear(backbone.feature_size, num_classes),
                num_classes // 2,
            )

        def forward(self, x, lengths):
            logits = self.head(
                bidirectional_lstm(self.backbone.lstm, x, lengths)
            )  # (B, T, classes), then the helper meant for states
            return torch.cat([last_frame(logits[:, :, : self.half], lengths), logits[:, 0, self.half :]], dim=1)

    def check_padding(backbone):
        for bidirectional in (False, True):
            model, x, lengths = backbone(3, 4, 1, bidirectional), noise(2, 6, 3), torch.tensor([6, 4])
            x[1, 4:] = 0
            longer = model(nn.functional.pad(x, (0, 0, 0, 20)), lengths)
            assert torch.allclose(model(x, lengths), longer, atol=1e-6), (
                f"padding changes the result, two directions: {bidirectional}"
            )

    def check_numbering(classifier):
        model, x, lengths = classifier(LSTMBackbone(3, 4, bidirectional=True), 10), noise(2, 6, 3), torch.tensor([6, 4])
        backwards = torch.arange(9, -1, -1)
        before = model(x, lengths)
        with torch.no_grad():
            model.head.weight.copy_(model.head.weight[backwards].clone())
            model.head.bias.copy_(model.head.bias[backwards].clone())
        assert torch.allclose(model(x, lengths), before[:, backwards], atol=1e-6), (
            "classes are read at different frames"
        )

    tell_apart(
        check_padding,
        LSTMBackbone,
        ("two directions: False", PaddedEnd),
        ("two directions: True", BackwardStateAtTheLastFrame),
    )
    tell_apart(check_numbering, Classifier, ("read at different frames", HalvesOfTheLogits))


def test_25_bare_squeeze_with_a_last_batch_of_one():
    class Squeezed(Regressor):
        def forward(self, x, lengths):
            return self.head(self.backbone(x, lengths)).squeeze()

    class SqueezedLast(LSTMBackbone):
        def forward(self, x, lengths):
            index = (lengths - 1)[:, None, None].expand(-1, 1, self.feature_size)
            return self.lstm(x)[0].gather(1, index).squeeze()

    def check(implementation):
        backbone, regressor = implementation
        summarised = backbone(3, 4)
        for x, _, lengths in make_loader(Clips(noise(5, 6, 3), np.zeros(5, dtype=np.float32)), 2):
            assert summarised(x, lengths).shape == (len(x), 4), (
                f"a batch of {len(x)} has lost its batch axis in the backbone"
            )
            assert regressor(summarised)(x, lengths).shape == (len(x),), (
                f"a batch of {len(x)} has lost its batch axis in the head"
            )

    tell_apart(
        check,
        (LSTMBackbone, Regressor),
        ("a batch of 1 has lost its batch axis in the backbone", (SqueezedLast, Regressor)),
        ("a batch of 1 has lost its batch axis in the head", (LSTMBackbone, Squeezed)),
    )
