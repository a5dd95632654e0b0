"""Second derivatives of convolutions and batch normalisations, in as few passes as known.

PyTorch composes them of other operations: a convolution's of convolutions of rearranged
copies, a batch normalisation's of some thirty passes over its input. Here both ask the
kernels of the first derivative again, so that a product with the Hessian costs little above
what it must, two gradients. Source: our section "Curvature without the Hessian".
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.autograd import Function, forward_ad
from torch.nn import functional

KERNELS = torch.ops.aten
CONVOLUTIONS = {name: getattr(functional, name) for name in ("conv1d", "conv2d", "conv3d")}
PLAIN_BATCH_NORM = functional.batch_norm


def _usual(*tensors: Tensor | None) -> bool:
    """Return whether these are plain tensors of one dtype, in no transform of functions."""
    x = tensors[0]
    return (
        torch.is_grad_enabled()
        and x.dtype in {torch.float32, torch.float64}
        and all(type(t) in {Tensor, nn.Parameter} and t.dtype == x.dtype for t in tensors)
        and not torch.is_autocast_enabled(x.device.type)
        and not torch._C._are_functorch_transforms_active()
        and forward_ad._current_level < 0
    )


def _normalise(eps: float, x: Tensor, *own: Tensor) -> Tensor:
    """Normalise by elementary operations, as PyTorch lacks a third derivative."""
    axes = [0, *range(2, x.dim())]
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    weight, bias = (_per_channel(one, x) for one in own)
    return (x - mean) * (variance + eps).rsqrt() * weight + bias


def _composed(function, g: Tensor, inputs: tuple, along: tuple) -> tuple:
    """Return a second derivative from PyTorch's, which can be differentiated again."""
    grad = partial(torch.autograd.grad, create_graph=True, allow_unused=True)
    given = (t if t.requires_grad else t.detach().requires_grad_() for t in (g, *inputs))
    g, *inputs = (t.view_as(t) for t in given)  # of which none depends on another
    slopes = grad(function(*inputs), inputs, g)
    ends, along = zip(*((s, v) for s, v in zip(slopes, along) if v is not None))
    return grad(ends, (g, *inputs), along)


class _Convolution(Function):
    @staticmethod
    def forward(ctx, x, weight, bias, how):
        ctx.save_for_backward(x, weight)
        ctx.how = how
        return torch.convolution(x, weight, bias, *how)

    @staticmethod
    def backward(ctx, g):
        wanted = [*ctx.needs_input_grad[:3]]
        return *_ConvolutionSlope.apply(g, *ctx.saved_tensors, ctx.how, wanted), None


class _ConvolutionSlope(Function):
    @staticmethod
    def forward(ctx, g, x, weight, how, wanted):
        ctx.save_for_backward(g, x, weight)
        ctx.set_materialize_grads(False)
        ctx.how = how
        return KERNELS.convolution_backward(g, x, weight, [g.shape[1]], *how, wanted)

    @staticmethod
    def backward(ctx, vx, vw, vb):
        g, x, weight = ctx.saved_tensors
        if torch.is_grad_enabled():
            inputs, along = (x, weight, g.new_zeros(g.shape[1])), (vx, vw, vb)
            found = _composed(lambda *it: torch.convolution(*it, *ctx.how), g, inputs, along)
            return *found[:3], None, None
        of_g = None
        if vw is not None or vb is not None:
            turned = torch.zeros_like(weight) if vw is None else vw
            of_g = torch.convolution(x, turned, vb, *ctx.how)
        if vx is not None:
            image = torch.convolution(vx, weight, None, *ctx.how)
            of_g = image if of_g is None else of_g.add_(image)
        needed = ctx.needs_input_grad
        wanted = [needed[1] and vw is not None, needed[2] and vx is not None, False]
        at = g, x if vx is None else vx, weight if vw is None else vw  # it is bilinear in both
        of_x, of_weight, _ = KERNELS.convolution_backward(*at, None, *ctx.how, wanted)
        return of_g, of_x, of_weight, None, None


def _convolution(name, x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    given = [x, weight] if bias is None else [x, weight, bias]
    if isinstance(padding, str) or x.dim() != weight.dim() or not _usual(*given):
        return CONVOLUTIONS[name](x, weight, bias, stride, padding, dilation, groups)
    sides = x.dim() - 2
    each = ([n] * sides if isinstance(n, int) else [*n] for n in (stride, padding, dilation))
    return _Convolution.apply(x, weight, bias, (*each, False, [0] * sides, groups))


class _BatchNorm(Function):
    @staticmethod
    def forward(ctx, x, weight, bias, running_mean, running_var, momentum, eps):
        at = x, weight, bias, running_mean, running_var, True, momentum, eps
        y, mean, scale = KERNELS.native_batch_norm(*at)
        ctx.save_for_backward(x, weight, mean, scale)
        ctx.eps = eps
        return y

    @staticmethod
    def backward(ctx, g):
        return *_BatchNormSlope.apply(g, *ctx.saved_tensors, ctx.eps), *[None] * 4


class _BatchNormSlope(Function):
    @staticmethod
    def forward(ctx, g, x, weight, mean, scale, eps):
        at = g, x, weight, None, None, mean, scale, True, eps
        of_x, of_weight, of_bias = KERNELS.native_batch_norm_backward(*at, [True] * 3)
        ctx.save_for_backward(g, x, weight, mean, scale, of_weight, of_bias)
        ctx.eps = eps
        return of_x, of_weight, of_bias

    @staticmethod
    def backward(ctx, vx, vw, vb):
        g, x, weight, mean, scale, gz, g1 = ctx.saved_tensors
        if torch.is_grad_enabled():
            inputs, along = (x, weight, torch.zeros_like(weight)), (vx, vw, vb)
            found = _composed(partial(_normalise, ctx.eps), g, inputs, along)
            return *found[:3], *[None] * 3
        # Sums over a channel: v1 of vx, vz of vx z, vg of vx g, with z = (x - mean) scale.
        n, zero, one = x.numel() // x.shape[1], torch.zeros_like(mean), torch.ones_like(mean)
        vz, v1 = _sums(vx, x, mean, scale)
        vg, _ = _sums(vx, g, zero, one)
        gain = weight * scale
        # <vx, gradient> = gain (vg - v1 g1 / n - vz gz / n), and scale depends on x, too.
        k = vg - (v1 * g1 + vz * gz) / n
        of_v, of_g = -gain * gz / n, vw - gain * vz / n  # of this and <vw, gz>, by z
        slant = scale * of_g
        on_g = _affine(vx, gain, vb - gain * v1 / n - slant * mean)
        on_g.addcmul_(x, _per_channel(slant, x))
        slant = -(scale**2) * (of_v * vz + of_g * gz + gain * k) / n
        level = -scale * (of_v * v1 + of_g * g1) / n - slant * mean
        on_x = _affine(vx, scale * of_v, level).addcmul_(g, _per_channel(scale * of_g, x))
        on_x.addcmul_(x, _per_channel(slant, x))
        return on_g, on_x, scale * k, None, None, None


def _sums(v: Tensor, x: Tensor, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sums of v (x - mean) scale and of v over each channel, in one pass."""
    at = v, x, None, None, None, mean, scale, True, 0.0
    return KERNELS.native_batch_norm_backward(*at, [False, True, True])[1:]


def _affine(x: Tensor, slope: Tensor, level: Tensor) -> Tensor:
    """Return slope x + level by channel, in one pass."""
    running = torch.zeros_like(slope), torch.ones_like(slope)
    return PLAIN_BATCH_NORM(x, *running, slope, level, eps=0.0)


def _per_channel(values: Tensor, x: Tensor) -> Tensor:
    return values.view(-1, *[1] * (x.dim() - 2))


def _batch_norm(x, mean, var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    several = training and x.numel() > x.shape[1]  # else PyTorch says what is wrong
    if several and weight is not None and bias is not None and _usual(x, weight, bias):
        return _BatchNorm.apply(x, weight, bias, mean, var, momentum, eps)
    return PLAIN_BATCH_NORM(x, mean, var, weight, bias, training, momentum, eps)


CHANGES = [(functional, name, partial(_convolution, name)) for name in CONVOLUTIONS]
CHANGES.append((functional, "batch_norm", _batch_norm))
