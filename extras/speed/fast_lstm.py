"""A bidirectional LSTM on a CPU without packing: one fused call for each direction of each layer.

On packed sequences PyTorch computes frame by frame; on padded ones a direction is one call, many times faster. The
values are the same.
"""

import torch
from torch import nn


def bidirectional_summary(lstm, x, lengths):
    """LSTMBackbone's output: x (B, T, F), lengths (B,) -> (B, 2 x rnn_size).

    The forward state at the clip's last frame and the backward state at its first.
    """
    states = bidirectional_lstm(lstm, x, lengths)
    last = states[torch.arange(len(states)), lengths - 1, : lstm.hidden_size]
    return torch.cat([last, states[:, 0, lstm.hidden_size :]], dim=1)


def reverse_within_length(sequence, lengths):
    """Each clip reversed within its own length, (B, T, F) -> (B, T, F); its first frame is repeated as padding."""
    steps = torch.arange(sequence.shape[1], device=sequence.device)
    backwards = (lengths[:, None] - 1 - steps).clamp(min=0)
    return sequence.gather(1, backwards[:, :, None].expand_as(sequence))


def bidirectional_lstm(lstm, x, lengths):
    """Output of a bidirectional nn.LSTM as on packed sequences, from padded ones: (B, T, F) -> (B, T, 2 x rnn_size)."""
    weights = lstm.all_weights  # layer 0 forward, layer 0 backward, layer 1 forward, ...
    for layer in range(lstm.num_layers):
        forward = single_lstm(x, weights[2 * layer])
        backward = single_lstm(reverse_within_length(x, lengths), weights[2 * layer + 1])
        x = torch.cat([forward, reverse_within_length(backward, lengths)], dim=2)
        if layer < lstm.num_layers - 1:
            x = nn.functional.dropout(x, lstm.dropout, lstm.training)
    return x


def single_lstm(x, weights):
    """One layer in one direction from a zero state: (B, T, F) -> (B, T, rnn_size); weights from nn.LSTM.all_weights."""
    state = x.new_zeros(1, len(x), weights[1].shape[1])
    return torch.lstm(x, (state, state), weights, True, 1, 0.0, False, False, True)[0]
