"""The lifts of torch.nn's own layers: A, W and b of Identity, Linear, convolution and pooling.

Each function is registered for a type of layer and called by `helpers.mixing.as_mixing`, which has
checked the layer and the example input before. A new lift goes here, or beside its own layer.

Sources: the k² shifts are the construction of Cordonnier, Loukas, Jaggi (2020), Theorem 1, with
the shifts as they are, not as limits of a softmax. The one-channel heads are the reading of
depthwise convolution in Han et al. (2022), section 2.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.mixing import Mixing, register_lift
from helpers.tokens import channel_axis, grid_of, refuse_above_limit

Convolution = nn.Conv1d | nn.Conv2d
Pooling = nn.AvgPool1d | nn.AvgPool2d
Grid = tuple[int, ...]


# --- one term: Identity, dropout, Linear ---------------------------------------------------------


@register_lift(nn.Identity)
@register_lift(nn.Dropout)  # in eval mode: `as_mixing` refuses active dropout before it gets here
def _identity(layer: nn.Module, x: Tensor, *, view: str | None, layout: str | None) -> Mixing:
    """One term, A = I and W = I."""
    _check_one_reading(layer, view)
    layout = layout or "channels_last"
    grid, channels = grid_of(x, layout), x.shape[channel_axis(layout)]
    tokens = math.prod(grid)
    _check_size(layer, x, (1, tokens, tokens), (1, channels, channels))
    return Mixing(
        token=_eye(tokens, x)[None, None],
        channel=_eye(channels, x)[None],
        bias=x.new_zeros(1, channels),
        grid_in=grid,
        grid_out=grid,
    )


@register_lift(nn.Linear)
def _linear(layer: nn.Linear, x: Tensor, *, view: str | None, layout: str | None) -> Mixing:
    """One term, A = I and W = weight^T: every token by itself."""
    _check_one_reading(layer, view)
    if x.shape[-1] != layer.in_features:
        raise ValueError(
            f"x has shape {tuple(x.shape)}: {layer} reads the last axis, which has {x.shape[-1]} "
            f"entries, not {layer.in_features}.{_moved_channels_hint(x, 1, -1, layer.in_features)}"
        )
    # A sample with no token axis is one token: then the last axis is channels in either layout.
    if layout == "channels_first" and x.dim() > 2:
        return _linear_along_width(layer, x)
    grid = grid_of(x, "channels_last")
    tokens = math.prod(grid)
    _check_size(layer, x, (1, tokens, tokens), (1, layer.in_features, layer.out_features))
    return Mixing(
        token=_eye(tokens, x)[None, None],
        channel=layer.weight.T.clone()[None],
        bias=_bias(layer, layer.out_features, x)[None],
        grid_in=grid,
        grid_out=grid,
        learned_channel=layer.weight.numel(),
    )


def _linear_along_width(layer: nn.Linear, x: Tensor) -> Mixing:
    """One term on ``(B, C, ..., width)``, A = kron(I, weight) and W = I: every channel by itself.

    This is the token mixing of MLP-Mixer where it is meant (Tolstikhin et al. 2021), and the
    classic layout bug where it is not.
    """
    channels, grid = x.shape[1], grid_of(x, "channels_first")
    lines = math.prod(grid[:-1])
    token_shape = (1, lines * layer.out_features, lines * layer.in_features)
    _check_size(layer, x, token_shape, (1, channels, channels))
    bias = _bias(layer, layer.out_features, x).repeat(lines)
    return Mixing(
        token=torch.kron(_eye(lines, x), layer.weight)[None, None],
        channel=_eye(channels, x)[None],
        bias=bias[:, None].repeat(1, channels),
        grid_in=grid,
        grid_out=(*grid[:-1], layer.out_features),
        learned_token=layer.weight.numel(),
    )


# --- convolutions: k² shifts, or one-channel heads -----------------------------------------------


@register_lift(nn.Conv1d)
@register_lift(nn.Conv2d)
def _convolution(layer: Convolution, x: Tensor, *, view: str | None, layout: str | None) -> Mixing:
    """One term per kernel offset; or, for a depthwise convolution, one per output channel."""
    _check_convolution(layer, x, view, layout)
    depthwise = layer.groups == layer.in_channels
    build = _as_heads if depthwise and view != "shifts" else _as_shifts
    return build(layer, x, grid_of(x, "channels_first"), _grid_out(layer, x))


def _as_shifts(layer: Convolution, x: Tensor, grid_in: Grid, grid_out: Grid) -> Mixing:
    """Make one term per kernel offset: A a fixed 0/1 shift, W the weights at that offset."""
    offsets, groups = math.prod(layer.kernel_size), layer.groups
    token_shape = (offsets, math.prod(grid_out), math.prod(grid_in))
    channel_shape = (offsets, layer.in_channels, layer.out_channels)
    _check_size(layer, x, token_shape, channel_shape)
    token, channel = x.new_zeros(token_shape), x.new_zeros(channel_shape)
    for h, seen in enumerate(_seen_tokens(layer, grid_in)):
        inside = seen >= 0
        token[h, inside, seen[inside]] = 1
    # Group g reads its own block of input channels and writes its own block of output channels.
    reads = torch.arange(layer.in_channels, device=x.device).chunk(groups)
    writes = torch.arange(layer.out_channels, device=x.device).chunk(groups)
    by_offset = layer.weight.flatten(2).permute(2, 1, 0)  # (k², C_in / G, C_out)
    for c_in, c_out in zip(reads, writes, strict=True):
        channel[:, c_in[:, None], c_out] = by_offset[:, :, c_out]
    bias = _bias(layer, layer.out_channels, x)[None]
    return Mixing(
        token[None], channel, bias, grid_in, grid_out, learned_channel=layer.weight.numel()
    )


def _as_heads(layer: Convolution, x: Tensor, grid_in: Grid, grid_out: Grid) -> Mixing:
    """Make one term per output channel: A its filter in every row, W one-hot (its channels)."""
    heads = layer.out_channels
    token_shape = (heads, math.prod(grid_out), math.prod(grid_in))
    channel_shape = (heads, layer.in_channels, layer.out_channels)
    _check_size(layer, x, token_shape, channel_shape)
    token, channel = x.new_zeros(token_shape), x.new_zeros(channel_shape)
    for weight, seen in zip(layer.weight.flatten(1).T, _seen_tokens(layer, grid_in), strict=True):
        queries = (seen >= 0).nonzero().squeeze(1)
        # Added, not set: with wrapped or mirrored padding two offsets can see one token.
        token[:, queries, seen[queries]] += weight[:, None]
    head = torch.arange(heads, device=x.device)
    channel[head, head // (heads // layer.in_channels), head] = 1
    bias = _bias(layer, heads, x)[None]
    return Mixing(token[None], channel, bias, grid_in, grid_out, learned_token=layer.weight.numel())


def _seen_tokens(layer: Convolution, grid: Grid) -> Tensor:
    """Say which input token each output position sees at each kernel offset.

    One mechanism for every stride, dilation, padding and padding mode: number the tokens, pad the
    numbers as the layer pads its input, and read off its windows.

    Returns
    -------
    Tensor
        ``(k², N_out)`` token numbers; -1 where the position sees the zero padding.
    """
    # float64: F.pad's other modes take no integers, and every number up to 2^53 is exact.
    numbers = torch.arange(1, math.prod(grid) + 1, dtype=torch.float64, device=layer.weight.device)
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    windows = F.pad(numbers.view(1, 1, *grid), _padding(layer), mode=mode)[0, 0]
    for axis in range(len(grid)):
        reach = layer.dilation[axis] * (layer.kernel_size[axis] - 1) + 1
        # Unfolding an axis appends its windows as the last axis.
        windows = windows.unfold(axis, reach, layer.stride[axis])[..., :: layer.dilation[axis]]
    return windows.flatten(len(grid)).flatten(0, len(grid) - 1).T.long() - 1


def _padding(layer: Convolution) -> list[int]:
    """Give the padding before and after each axis, last axis first, as F.pad wants it."""
    if layer.padding == "valid":
        return [0, 0] * len(layer.kernel_size)
    pairs = []
    for axis in reversed(range(len(layer.kernel_size))):
        if layer.padding == "same":  # an even reach pads one more after than before
            total = layer.dilation[axis] * (layer.kernel_size[axis] - 1)
            pairs += [total // 2, total - total // 2]
        else:
            pairs += [layer.padding[axis], layer.padding[axis]]
    return pairs


def _grid_out(layer: Convolution | Pooling, x: Tensor) -> Grid:
    """Ask the layer itself, so that what it cannot take is said in PyTorch's own words."""
    try:
        return tuple(layer(x[:1]).shape[2:])
    except RuntimeError as error:
        said = str(error).rstrip(". ")
        raise ValueError(f"{layer} does not take x of shape {tuple(x.shape)}: {said}.") from error


def _check_convolution(layer: Convolution, x: Tensor, view: str | None, layout: str | None) -> None:
    _check_axes(layer, x, layout, dims=len(layer.kernel_size))
    if x.shape[1] != layer.in_channels:
        raise ValueError(
            f"x has shape {tuple(x.shape)}: {layer} reads axis 1, which has {x.shape[1]} "
            f"channels, not {layer.in_channels}."
            f"{_moved_channels_hint(x, -1, 1, layer.in_channels)}"
        )
    if view == "heads" and layer.groups != layer.in_channels:
        raise ValueError(
            f"view='heads': {layer} is not depthwise (groups = {layer.groups}, in_channels = "
            f"{layer.in_channels}), so an output channel reads several input channels, each with "
            "another kernel, and no one A serves them. Only view='shifts' exists."
        )


# --- average pooling: one term, every channel by itself ------------------------------------------


@register_lift(nn.AvgPool1d)
@register_lift(nn.AvgPool2d)
def _pooling(layer: Pooling, x: Tensor, *, view: str | None, layout: str | None) -> Mixing:
    """One term, A the means and W = I: as a depthwise convolution with one fixed kernel."""
    _check_one_reading(layer, view)
    _check_axes(layer, x, layout, dims=1 if isinstance(layer, nn.AvgPool1d) else 2)
    channels, grid_in = x.shape[1], grid_of(x, "channels_first")
    grid_out = _grid_out(layer, x)
    token_shape = (1, math.prod(grid_out), math.prod(grid_in))
    _check_size(layer, x, token_shape, (1, channels, channels))
    windows = _pooled_tokens(layer, grid_in, grid_out).to(x.device)
    # Padding may count as pixels of value 0; what a last window covers beyond it never counts.
    counted = windows >= 0 if layer.count_include_pad else windows > 0
    divisor = getattr(layer, "divisor_override", None) or counted.sum(1, keepdim=True)
    token = x.new_zeros(math.prod(grid_out), math.prod(grid_in) + 1)
    token.scatter_(1, windows.clamp(min=0), 1)
    token = token[:, 1:] / divisor  # column 0 took what is no token
    return Mixing(
        token[None, None], _eye(channels, x)[None], x.new_zeros(1, channels), grid_in, grid_out
    )


def _pooled_tokens(layer: Pooling, grid_in: Grid, grid_out: Grid) -> Tensor:
    """Say what each output position averages over.

    Returns
    -------
    Tensor
        ``(N_out, k²)``: the number of a token, counted from 1; 0 for padding; -1 beyond it, where
        ``ceil_mode`` lets the last window hang over.
    """
    kernel, stride, padding = (
        (value,) * len(grid_in) if isinstance(value, int) else value
        for value in (layer.kernel_size, layer.stride, layer.padding)
    )
    over = [
        max(0, (out - 1) * s + k - (size + 2 * p))
        for out, size, k, s, p in zip(grid_out, grid_in, kernel, stride, padding, strict=True)
    ]
    windows = torch.arange(1, math.prod(grid_in) + 1).view(grid_in)
    # F.pad starts from the last axis. All padding first: a corner beyond it is beyond, not padding.
    windows = F.pad(windows, [p for pad in reversed(padding) for p in (pad, pad)], value=0)
    windows = F.pad(windows, [p for pad in reversed(over) for p in (0, pad)], value=-1)
    for axis in range(len(grid_in)):
        windows = windows.unfold(axis, kernel[axis], stride[axis])
    return windows.flatten(len(grid_in)).flatten(0, len(grid_in) - 1)


# --- shared --------------------------------------------------------------------------------------


def _check_axes(layer: nn.Module, x: Tensor, layout: str | None, dims: int) -> None:
    axes = (
        ("batch", "channels", "length") if dims == 1 else ("batch", "channels", "height", "width")
    )
    if layout == "channels_last":
        raise ValueError(
            f"layout='channels_last': {layer} always reads ({', '.join(axes)}). Leave layout out, "
            "and move the channels of x to axis 1."
        )
    if x.dim() != len(axes):
        batch = " Add the batch: x[None]." if x.dim() == len(axes) - 1 else ""
        raise ValueError(
            f"x has shape {tuple(x.shape)}: {layer} takes {len(axes)} axes, "
            f"({', '.join(axes)}).{batch}"
        )


def _eye(size: int, like: Tensor) -> Tensor:
    return torch.eye(size, dtype=like.dtype, device=like.device)


def _bias(layer: nn.Module, channels: int, like: Tensor) -> Tensor:
    return like.new_zeros(channels) if layer.bias is None else layer.bias.clone()


def _check_one_reading(layer: nn.Module, view: str | None) -> None:
    if view is not None:
        raise ValueError(
            f"view={view!r}: {type(layer).__name__} has one reading. A view can be chosen for "
            "depthwise convolutions alone; leave it out."
        )


def _check_size(
    layer: nn.Module, x: Tensor, token: tuple[int, ...], channel: tuple[int, ...]
) -> None:
    shapes = [" x ".join(f"{n:,}" for n in shape) for shape in (token, channel)]
    refuse_above_limit(
        f"as_mixing({layer}): A of {shapes[0]} and W of {shapes[1]} {x.dtype}",
        math.prod(token) + math.prod(channel),
        x.dtype,
        "the image, the kernel or the number of channels",
    )


def _moved_channels_hint(x: Tensor, found: int, wanted: int, channels: int) -> str:
    """Suggest moving an axis, where the channels seem to stand on the wrong one."""
    if x.dim() < 3 or x.shape[found] != channels:
        return ""
    axis = "axis 1" if found == 1 else "the last axis"
    return f" If the channels are on {axis}: x.movedim({found}, {wanted})."
