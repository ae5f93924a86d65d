"""The CNN's stage on a CPU: convolution, batch norm, 2x2 max pooling and ReLU in one step, clip by clip.

The function and its gradients are those of Conv2d, BatchNorm2d, MaxPool2d and ReLU one after the other, as
tests/test_fast_cnn.py checks. Only the order of the work differs, since memory access makes the plain form slow:

- The convolution of a clip (or of several short ones) is pooled, and in the backward pass differentiated, while it is
  still in the processor's cache.
- Pooling comes before the normalisation, so that only a quarter of the values is normalised. Where a filter's
  batch-norm weight is negative, its sign is moved into the filter, so that max pooling commutes with what follows.
- The first stage has one input channel: four filters of 4x4 at stride 2 give the four values of a pooling window, by a
  matrix product on patches. Mean and variance of all outputs follow from the patches' second moments, without a pass
  over the outputs.
- Each thread works on whole pieces, so that threads wait for each other once a stage, not at every operation.
"""

from concurrent.futures import ThreadPoolExecutor

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

WINDOWS = 4096  # pooling windows of the first stage in one piece: with 16 filters their values take 256 KB
PIECE = 1_000_000  # outputs of a convolution in one piece, about: 4 MB, which fits a core's cache


def conv_pool_stage(x, conv, norm):
    """One stage in training: x (B, C, T, F) -> (B, C', T // 2, F // 2).

    conv: Conv2d of odd kernel size, padded to keep the size; norm: its BatchNorm2d, whose running statistics are
    updated as by PyTorch.
    """
    in_pairs = x.shape[2] % 2 == x.shape[3] % 2 == 0  # otherwise batch norm counts outputs outside of all windows
    stage = FirstStage if one_channel(x, conv) and in_pairs and not x.requires_grad else Stage
    out, mean, variance = stage.apply(x, conv.weight, conv.bias, norm.weight, norm.bias, norm.eps)
    count = len(x) * x.shape[2] * x.shape[3]
    with torch.no_grad():
        norm.num_batches_tracked += 1
        norm.running_mean.lerp_(mean.to(x.dtype), norm.momentum)
        norm.running_var.lerp_((variance * count / max(1, count - 1)).to(x.dtype), norm.momentum)
    return out


def conv_pool_eval(x, conv, norm):
    """One stage in evaluation, batch norm folded into the convolution: x (B, C, T, F) -> (B, C', T // 2, F // 2)."""
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    weight = channels_last(conv.weight * scale[:, None, None, None])
    bias = (conv.bias - norm.running_mean) * scale + norm.bias
    filters = window_filters(weight) if one_channel(x, conv) else None

    def one(clip):
        if filters is None:
            return max_pool(functional.conv2d(clip, weight, bias, padding="same")).relu_()
        return as_image(pooled_windows(window_patches(clip), filters).add_(bias).relu_(), clip)

    return torch.cat(over_pieces(one, clips_in_piece(x, len(weight)), x))


def one_channel(x, conv):
    return x.shape[1] == 1 and conv.kernel_size == (3, 3)


def clips_in_piece(x, channels):
    """Number of clips of x (B, C, T, F) in one piece: one, or several short ones with about PIECE outputs."""
    return max(1, round(PIECE / (channels * x.shape[2] * x.shape[3])))


def over_pieces(function, size, *batches):
    """[function(`size` clips of each batch)] in the clips' order, each piece on one of PyTorch's threads.

    The results do not depend on the number of threads. batches: tensors (B, ...), or lists with an item for each piece.
    """
    threads = torch.get_num_threads()
    pieces = zip(*(batch.split(size) if torch.is_tensor(batch) else batch for batch in batches), strict=True)

    def one(piece):
        with torch.no_grad():
            return function(*piece)

    if threads == 1:
        return [one(piece) for piece in pieces]
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool_of_threads:
            return list(pool_of_threads.map(one, pieces))
    finally:
        torch.set_num_threads(threads)


def keep_above(gradient, x):
    """The gradient where x > 0, else 0: ReLU's own backward, the fastest mask on a CPU."""
    return torch.ops.aten.threshold_backward(gradient, x, 0.0)


def channels_last(x):
    return x.contiguous(memory_format=torch.channels_last)


def sign_of(gamma):
    """-1 where a batch-norm weight is negative, else 1: (C,) -> (C, 1, 1, 1)."""
    return torch.where(gamma < 0, -1, 1).to(gamma.dtype)[:, None, None, None]


def per_channel(values, like):
    """(C,) -> (1, C, 1, 1) of the dtype of `like`."""
    return values.to(like.dtype)[None, :, None, None]


def max_pool(y):
    """2x2 max pooling of (B, C, T, F): first over time, then over bands; faster than max_pool2d, without indices."""
    frames, bands = y.shape[2] // 2 * 2, y.shape[3] // 2 * 2
    halved = torch.maximum(y[:, :, 0:frames:2], y[:, :, 1:frames:2])
    return torch.maximum(halved[..., 0:bands:2], halved[..., 1:bands:2])


def add_unpooled(gradient, y, into):
    """Adds the gradient (B, C, T // 2, F // 2) of max_pool(y) to `into` (B, C, T, F), at each window's maximum."""
    frames, bands = y.shape[2] // 2 * 2, y.shape[3] // 2 * 2
    upper, lower = y[:, :, 0:frames:2], y[:, :, 1:frames:2]
    halved = torch.maximum(upper, lower)
    right = keep_above(gradient, halved[..., 1:bands:2] - halved[..., 0:bands:2])
    if bands < halved.shape[3]:
        halved.zero_()
    halved[..., 1:bands:2] = right
    torch.sub(gradient, right, out=halved[..., 0:bands:2])  # from here on `halved` is its own gradient
    below = keep_above(halved, lower - upper)
    into[:, :, 1:frames:2] += below
    into[:, :, 0:frames:2] += halved.sub_(below)


def normalise(pooled, gamma, beta, mean, inverse):
    """ReLU of the pooled values' batch norm, gamma without its sign; inverse: 1 / standard deviation."""
    scale = gamma.abs() * inverse
    return torch.addcmul(per_channel(beta - scale * mean, pooled), pooled, per_channel(scale, pooled)).relu_()


def gradient_sums(clips):
    """Sums over clips of [(gradient, gradient x pooled)], each (C,), in float64."""
    return (torch.stack(sums).double().sum(dim=0) for sums in zip(*clips, strict=True))


class Stage(torch.autograd.Function):
    """Convolution, batch norm in training, pooling and ReLU; returns output, batch mean and biased variance, float64."""

    @staticmethod
    def forward(ctx, x, weight, bias, gamma, beta, eps):
        signed = channels_last(weight * sign_of(gamma))

        def one(clip):
            y = functional.conv2d(clip, signed, padding="same")
            return y, max_pool(y), *torch.batch_norm_update_stats(y, None, None, 0.0)

        size = clips_in_piece(x, len(gamma))
        outputs, smaller, *moments = zip(*over_pieces(one, size, x), strict=True)
        means, variances = (torch.stack(each).double() for each in moments)
        # fraction of the clips in each piece; all clips have the same size, padding included
        weights = torch.tensor([len(y) for y in outputs], dtype=torch.float64) / len(x)
        mean = weights @ means
        variance = weights @ (variances + (means - mean) ** 2)
        inverse = (variance + eps).rsqrt()
        pooled = torch.cat(smaller)
        out = normalise(pooled, gamma, beta, mean, inverse)
        ctx.save_for_backward(x, signed, gamma, mean, inverse, pooled, out, *outputs)
        ctx.set_materialize_grads(False)
        return out, mean * sign_of(gamma).flatten() + bias, variance

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient, *_):
        x, signed, gamma, mean, inverse, pooled, out, *outputs = ctx.saved_tensors

        def relu_and_sums(gradient, out, pooled):
            gradient = keep_above(gradient, out)
            return gradient, gradient.sum((0, 2, 3)), (gradient * pooled).sum((0, 2, 3))

        size = clips_in_piece(x, len(gamma))
        gradients, *sums = zip(*over_pieces(relu_and_sums, size, gradient, out, pooled), strict=True)
        dbeta, with_pooled = gradient_sums(list(zip(*sums, strict=True)))
        scale, constant, slope, dgamma = batch_norm_backward(
            gamma, mean, inverse, dbeta, with_pooled, len(x) * outputs[0][0, 0].numel()
        )
        scale, constant, slope = (per_channel(values, x) for values in (scale, constant, slope))

        def through_convolution(clip, y, gradient):
            dy = torch.addcmul(constant, y, slope)
            add_unpooled(gradient * scale, y, dy)
            same = [size // 2 for size in signed.shape[2:]]
            wanted = [ctx.needs_input_grad[0], True, False]
            return torch.ops.aten.convolution_backward(
                dy, clip, signed, None, [1, 1], same, [1, 1], False, [0, 0], 1, wanted
            )[:2]

        by_clip, products = zip(*over_pieces(through_convolution, size, x, outputs, gradients), strict=True)
        dweight = torch.stack(products).sum(dim=0) * sign_of(gamma)
        dx = torch.cat(by_clip) if ctx.needs_input_grad[0] else None
        return (
            dx,
            dweight,
            torch.zeros_like(gamma),
            (dgamma * sign_of(gamma).flatten()).to(x.dtype),
            dbeta.to(x.dtype),
            None,
        )


def batch_norm_backward(gamma, mean, inverse, dbeta, with_pooled, count):
    """The terms of batch norm's gradient, dy = scale x unpooled gradient + constant + slope x y, and dgamma.

    All (C,) in float64; Ioffe and Szegedy 2015, section 3. Only the maxima of pooling windows have a gradient, so that
    the sums are over these. count: number of values of y for each channel.
    """
    dgamma = (with_pooled - mean * dbeta) * inverse
    scale = gamma.abs().double() * inverse
    slope = -scale * inverse * dgamma / count
    return scale, -scale * dbeta / count - slope * mean, slope, dgamma


def window_patches(clip):
    """Receptive fields of the pooling windows, 4x4 values, zero-padded: (B, 1, T, F) -> (B x T // 2 x F // 2, 16)."""
    return functional.pad(clip[:, 0], (1, 1, 1, 1)).unfold(1, 4, 2).unfold(2, 4, 2).reshape(-1, 16)


def window_filters(weight):
    """Filters (C, 1, 3, 3) -> (4, 16, C): each as four filters of 4x4, one for each position in a window."""
    filters = weight.new_zeros(2, 2, len(weight), 4, 4)
    for row in (0, 1):
        for column in (0, 1):
            filters[row, column, :, row : row + 3, column : column + 3] = weight[:, 0]
    return filters.reshape(4, len(weight), 16).transpose(1, 2).contiguous()


def window_gradient(gradient):
    """The gradient of window_filters: (4, 16, C) -> (C, 1, 3, 3)."""
    positions = gradient.transpose(1, 2).reshape(2, 2, -1, 4, 4)
    parts = [positions[row, column, :, row : row + 3, column : column + 3] for row in (0, 1) for column in (0, 1)]
    return torch.stack(parts).sum(dim=0)[:, None]


def window_values(patches, filters):
    """The four values of every pooling window, each (n, C)."""
    return [patches @ each for each in filters]


def pooled_windows(patches, filters):
    """The largest value of every pooling window, (n, C)."""
    pooled = []
    for part in patches.split(WINDOWS):
        a, b, c, d = window_values(part, filters)
        pooled.append(torch.maximum(torch.maximum(a, b), torch.maximum(c, d)))
    return torch.cat(pooled)


def as_image(pooled, clip):
    """(B x T // 2 x F // 2, C) -> (B, C, T // 2, F // 2), channels last."""
    return pooled.view(len(clip), clip.shape[2] // 2, clip.shape[3] // 2, -1).permute(0, 3, 1, 2)


class FirstStage(torch.autograd.Function):
    """Stage for one input channel, 3x3 filters and an input that needs no gradient."""

    @staticmethod
    def forward(ctx, x, weight, bias, gamma, beta, eps):
        filters = window_filters(weight * sign_of(gamma))
        centre = x.mean()  # decibels are far from 0: their second moments would lose digits

        def one(clip):
            patches = window_patches(clip)
            pooled = as_image(pooled_windows(patches, filters), clip)
            patches -= centre
            return pooled, patches.sum(dim=0), patches.T @ patches

        smaller, *moments = zip(*over_pieces(one, clips_in_piece(x, len(gamma)), x), strict=True)
        pooled = torch.cat(smaller)
        count = len(x) * pooled[0, 0].numel()
        first, second = (torch.stack(each).double().sum(dim=0) / count for each in moments)
        exact = filters.double()
        shifted = torch.einsum("i,pic->c", first, exact) / 4  # the mean for an input without its centre
        variance = torch.einsum("pic,ij,pjc->c", exact, second, exact) / 4 - shifted**2
        mean = shifted + centre.double() * exact[0].sum(dim=0)
        inverse = (variance.clamp(min=0) + eps).rsqrt()
        out = normalise(pooled, gamma, beta, mean, inverse)
        ctx.save_for_backward(x, filters, gamma, mean, inverse, pooled, out, first, second, centre)
        ctx.set_materialize_grads(False)
        return out, mean * sign_of(gamma).flatten() + bias, variance

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient, *_):
        x, filters, gamma, mean, inverse, pooled, out, first, second, centre = ctx.saved_tensors

        def one(clip, gradient, out, pooled):
            gradient = keep_above(gradient, out).permute(0, 2, 3, 1).reshape(-1, len(gamma))
            with_pooled = (gradient * pooled.permute(0, 2, 3, 1).reshape(gradient.shape)).sum(dim=0)
            total = gradient.sum(dim=0)
            parts = zip(window_patches(clip).split(WINDOWS), gradient.split(WINDOWS), strict=True)
            return total, with_pooled, sum(to_filters(patches, each) for patches, each in parts)

        def to_filters(patches, gradient):
            a, b, c, d = window_values(patches, filters)
            lower = keep_above(gradient, torch.maximum(c, d).sub_(torch.maximum(a, b)))
            upper = gradient.sub_(lower)
            at_b, at_d = keep_above(upper, b.sub_(a)), keep_above(lower, d.sub_(c))
            return torch.stack([patches.T @ each for each in (upper.sub_(at_b), at_b, lower.sub_(at_d), at_d)])

        size = clips_in_piece(x, len(gamma))
        *sums, products = zip(*over_pieces(one, size, x, gradient, out, pooled), strict=True)
        dbeta, with_pooled = gradient_sums(list(zip(*sums, strict=True)))
        count = len(x) * pooled[0, 0].numel()
        scale, constant, slope, dgamma = batch_norm_backward(gamma, mean, inverse, dbeta, with_pooled, 4 * count)
        # with y = patches @ filters, the part of dy that is linear in y needs the moments of the patches alone
        centre = centre.double()
        second = second + centre * (first[:, None] + first) + centre**2
        linear = count * ((first + centre)[:, None] * constant + second @ filters.double() * slope)
        dfilters = torch.stack(products).double().sum(dim=0) * scale + linear
        dweight = window_gradient(dfilters) * sign_of(gamma)
        return (
            None,
            dweight.to(x.dtype),
            torch.zeros_like(gamma),
            (dgamma * sign_of(gamma).flatten()).to(x.dtype),
            dbeta.to(x.dtype),
            None,
        )
