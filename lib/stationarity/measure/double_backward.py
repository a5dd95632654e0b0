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
from torch.overrides import has_torch_function

KERNELS, CONVOLUTIONS = torch.ops.aten, ("conv1d", "conv2d", "conv3d")
in_transform = torch._C._are_functorch_transforms_active


def changes() -> list[tuple]:
    """Return what takes the place of what, (module, name, function), but for others' own."""
    own = [name for name in CONVOLUTIONS if getattr(functional, name) is getattr(torch, name)]
    found = [(functional, name, partial(_convolution, getattr(torch, name))) for name in own]
    plain = functional.batch_norm
    if getattr(plain, "__globals__", {}).get("__name__") == functional.__name__:
        found.append((functional, "batch_norm", partial(_batch_norm, plain)))
    return found


def _usual(*tensors: Tensor | None) -> bool:
    """Return whether these are plain tensors of one dtype, in no transform of functions."""
    given = [t for t in tensors if t is not None]
    kind, device = given[0].dtype, given[0].device.type
    plain = all(type(t) in {Tensor, nn.Parameter} and t.dtype == kind for t in given)
    casts = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return (
        plain
        and kind in {torch.float32, torch.float64}
        and not (casts or has_torch_function(given) or in_transform())
        and forward_ad._current_level < 0
        and torch.is_grad_enabled()
    )


def _plainly(*gradients: Tensor | None) -> bool:
    """Return whether to take PyTorch's derivative: of many functions at once."""
    legacy = torch._C._functorch.is_legacy_batchedtensor
    return in_transform() or any(v is not None and legacy(v) for v in gradients)


def _composed(slopes, inputs: tuple, along: tuple) -> tuple:
    """Return the derivatives of slopes along vectors by PyTorch's operations."""
    if all(v is None for v in along):
        return (None,) * len(inputs)
    with torch.enable_grad():
        given = (t if t.requires_grad else t.detach().requires_grad_() for t in inputs)
        inputs = [t.view_as(t) for t in given]  # of which none depends on another
        pairs = [(s, v) for s, v in zip(slopes(*inputs), along) if v is not None]
    how = {"create_graph": torch.is_grad_enabled(), "allow_unused": True}
    ends, along = zip(*pairs)
    return torch.autograd.grad(ends, inputs, along, **how)


def _convolution(plain, input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    given = stride, padding, dilation
    if (
        isinstance(padding, str)
        or input.dim() != weight.dim()
        or not _usual(input, weight, bias)
    ):
        return plain(input, weight, bias, *given, groups)
    sides = input.dim() - 2
    each = ([*n] if isinstance(n, tuple | list) else [int(n)] * sides for n in given)
    return _Convolution.apply(input, weight, bias, (*each, False, [0] * sides, groups))


def _convolution_slopes(how: tuple, wanted: list[bool], g, x, weight) -> tuple:
    return KERNELS.convolution_backward(g, x, weight, [weight.shape[0]], *how, wanted)


class _Convolution(Function):
    @staticmethod
    def forward(ctx, x, weight, bias, how):
        ctx.save_for_backward(x, weight)
        ctx.how = how
        return torch.convolution(x, weight, bias, *how)

    @staticmethod
    def backward(ctx, g):
        given = ctx.how, [*ctx.needs_input_grad[:3]], g, *ctx.saved_tensors
        slopes = _convolution_slopes if _plainly(g) else _ConvolutionSlope.apply
        return *slopes(*given), None


class _ConvolutionSlope(Function):
    @staticmethod
    def forward(ctx, how, wanted, g, x, weight):
        ctx.save_for_backward(g, x, weight)
        ctx.set_materialize_grads(False)
        ctx.how = how
        return _convolution_slopes(how, wanted, g, x, weight)

    @staticmethod
    def backward(ctx, *along):
        (g, x, weight), (vx, vw, vb) = ctx.saved_tensors, along
        if torch.is_grad_enabled() or _plainly(*along):
            slopes = partial(_convolution_slopes, ctx.how, [v is not None for v in along])
            return None, None, *_composed(slopes, (g, x, weight), along)
        of_g = None
        if vw is not None or vb is not None:
            turned = torch.zeros_like(weight) if vw is None else vw
            of_g = torch.convolution(x, turned, vb, *ctx.how)
        if vx is not None:
            image = torch.convolution(vx, weight, None, *ctx.how)
            of_g = image if of_g is None else of_g.add_(image)
        needed = ctx.needs_input_grad
        wanted = [needed[3] and vw is not None, needed[4] and vx is not None, False]
        at = g, x if vx is None else vx, weight if vw is None else vw  # it is bilinear in both
        return None, None, of_g, *_convolution_slopes(ctx.how, wanted, *at)[:2]


def _batch_norm(plain, input, running_mean, running_var, weight=None, bias=None, *how, **named):
    how = dict(zip(("training", "momentum", "eps"), how)) | named
    given = [t for t in (running_mean, running_var, weight, bias) if t is not None]
    sizes = {t.shape for t in given} == {input.shape[1:2]} and input.numel() > input.shape[1]
    # Where sizes or eps are wrong, PyTorch says so.
    ours = sizes and how.get("training") and how.get("eps", 1e-5) > 0
    if not ours or weight is None or bias is None or not _usual(input, *given):
        return plain(input, running_mean, running_var, weight, bias, **how)
    how = how.get("momentum", 0.1), how.get("eps", 1e-5)
    return _BatchNorm.apply(input, weight, bias, running_mean, running_var, *how)


def _batch_norm_slopes(eps: float, g, x, weight) -> tuple:
    """Return them by elementary operations, as a derivative of PyTorch's own is lacking."""
    axes = [0, *range(2, x.dim())]
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    scale = (variance + eps).rsqrt()
    z = (x - mean) * scale
    rest = g - g.mean(axes, keepdim=True) - z * (g * z).mean(axes, keepdim=True)
    return _per_channel(weight, x) * scale * rest, (g * z).sum(axes), g.sum(axes)


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
        x, weight, *known = ctx.saved_tensors
        slopes = _batch_norm_slopes if _plainly(g) else partial(_BatchNormSlope.apply, *known)
        return *slopes(ctx.eps, g, x, weight), *[None] * 4


class _BatchNormSlope(Function):
    @staticmethod
    def forward(ctx, mean, scale, eps, g, x, weight):
        at = g, x, weight, None, None, mean, scale, True, eps
        of_x, of_weight, of_bias = KERNELS.native_batch_norm_backward(*at, [True] * 3)
        ctx.save_for_backward(g, x, weight, mean, scale, of_weight, of_bias)
        ctx.eps = eps
        return of_x, of_weight, of_bias

    @staticmethod
    def backward(ctx, *along):
        (g, x, weight, mean, scale, gz, g1), (vx, vw, vb) = ctx.saved_tensors, along
        if torch.is_grad_enabled() or _plainly(*along):
            slopes = partial(_batch_norm_slopes, ctx.eps)
            return *[None] * 3, *_composed(slopes, (g, x, weight), along)
        # Sums over a channel: v1 of vx, vz of vx z, vg of vx g, with z = (x - mean) scale.
        n, gain = x.numel() // x.shape[1], weight * scale
        vz, v1 = _sums(vx, x, mean, scale)
        vg, _ = _sums(vx, g, torch.zeros_like(mean), torch.ones_like(mean))
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
        return None, None, None, on_g, on_x, scale * k


def _sums(v: Tensor, x: Tensor, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sums of v (x - mean) scale and of v over each channel, in one pass."""
    at = v, x, torch.ones_like(mean), None, None, mean, scale, True, 0.0
    return KERNELS.native_batch_norm_backward(*at, [False, True, True])[1:]


def _affine(x: Tensor, slope: Tensor, level: Tensor) -> Tensor:
    """Return slope x + level by channel, in one pass."""
    known = torch.zeros_like(slope), torch.ones_like(slope)
    return KERNELS.native_batch_norm(x, slope, level, *known, False, 0.0, 0.0)[0]


def _per_channel(values: Tensor, x: Tensor) -> Tensor:
    return values.view(-1, *[1] * (x.dim() - 2))
