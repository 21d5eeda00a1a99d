"""Are two computations the same? Compare values and gradients; carry weights across.

"The same" means equal in real arithmetic. Two programs that are equal there still round
differently, so the check runs in float64, where rounding is tiny, and in float32, where the reader
usually works. It compares the gradients as well: two layers with equal outputs and different
gradients would train differently.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

#: Largest normwise difference that rounding may explain, by dtype.
TOLERANCE: Mapping[torch.dtype, float] = {torch.float32: 1e-4, torch.float64: 1e-12}

Function = Callable[..., Tensor]


def normwise_difference(left: Tensor, right: Tensor, smallest: float = 0.0) -> float:
    """Give the largest difference over the largest value: one number for "how far apart".

    Parameters
    ----------
    left, right
        Tensors of one shape. The scale is the largest absolute value in either.
    smallest
        The scale is never below this; 0 measures against the values alone.

    Returns
    -------
    float
        0 for equal tensors, between 1 and 2 for unrelated ones; ``inf`` where either holds a NaN
        or an infinity, so that a broken computation never counts as close.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> normwise_difference(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.5]))
    0.2
    """
    if left.shape != right.shape:
        raise ValueError(
            f"left has shape {tuple(left.shape)} and right {tuple(right.shape)}: "
            "only tensors of one shape have a difference."
        )
    if left.numel() == 0:
        return 0.0
    scale = max(left.abs().max().item(), right.abs().max().item(), smallest)
    largest = (left - right).abs().max().item()
    if not (torch.isfinite(left).all() and torch.isfinite(right).all()):
        return float("inf")
    return largest / scale if scale > 0 else 0.0


@dataclass(frozen=True)
class Comparison:
    """One tensor compared on both sides: what it was, in which dtype, and how far apart."""

    what: str
    dtype: torch.dtype
    difference: float
    allowed: float

    @property
    def agrees(self) -> bool:
        """Whether the difference is within what rounding explains."""
        return self.difference <= self.allowed


@dataclass(frozen=True)
class Equivalence:
    """Everything that `assert_equivalent` compared. Prints the bound, never the noise below it."""

    comparisons: tuple[Comparison, ...]

    def worst(self, dtype: torch.dtype) -> float:
        """Give the largest normwise difference found in this dtype."""
        found = [c.difference for c in self.comparisons if c.dtype == dtype]
        if not found:
            raise ValueError(f"nothing was compared in {dtype}: {self!r}")
        return max(found)

    def __repr__(self) -> str:
        # The digits of a rounding error differ between machines; the bound does not.
        dtypes = list(dict.fromkeys(c.dtype for c in self.comparisons))
        names = list(dict.fromkeys(c.what for c in self.comparisons))
        width = max([24, *(len(name) + 1 for name in names)])
        lines = [" " * width + "".join(f"{str(d).removeprefix('torch.'):14}" for d in dtypes)]
        for what in names:
            bounds = {c.dtype: c.allowed for c in self.comparisons if c.what == what}
            lines.append(f"{what:{width}}" + "".join(f"below {bounds[d]:<8.0e}" for d in dtypes))
        return "\n".join(line.rstrip() for line in lines)


def assert_equivalent(
    left: nn.Module | Function,
    right: nn.Module | Function,
    *inputs: Tensor,
    parameters: Mapping[str, str] | None = None,
    dtypes: Sequence[torch.dtype] = (torch.float64, torch.float32),
    tolerance: Mapping[torch.dtype, float] = TOLERANCE,
) -> Equivalence:
    """Check that two computations give the same values and the same gradients.

    Both sides get copies of the same inputs. The gradients are those of one random weighted sum of
    the output, with respect to each input and to each pair of parameters named in `parameters`.
    They are measured against the largest gradient, or the largest output where that is larger:
    where a gradient almost vanishes, large terms cancel and leave their rounding.

    The check speaks for these inputs only, so give it ordinary ones: random, of more than one
    pixel. Modules are copied first and never changed; a plain function cannot be copied.

    Parameters
    ----------
    left, right
        Modules, or functions of the inputs. A module is checked in each of `dtypes`; a function
        must work in each of them itself (name fewer where it holds tensors of one dtype).
    *inputs
        The example inputs, of any shape that both sides take.
    parameters
        Name in `left` to name in `right` (``{"weight": "weight"}``): parameters whose gradients
        must agree too. The two may differ in shape, as ``(out, in, 1, 1)`` and ``(out, in)`` do,
        but not in their number of elements.
    dtypes, tolerance
        What to check in, and the largest normwise difference allowed there.

    Returns
    -------
    Equivalence
        What was compared. It prints as a short table.

    Raises
    ------
    AssertionError
        If anything differs. The message says what, in which dtype, where, and by how much.
    ValueError
        If there is nothing to compare: the output is empty or all zero, or carries no gradient.

    Examples
    --------
    >>> conv = nn.Conv2d(3, 8, 1)
    >>> assert_equivalent(conv, OnPixels(linear_from_pointwise(conv)), torch.randn(2, 3, 4, 4),
    ...                   parameters={"weight": "layer.weight", "bias": "layer.bias"})
                            float64       float32
    output                  below 1e-12   below 1e-04
    gradient of the input   below 1e-12   below 1e-04
    gradient of weight      below 1e-12   below 1e-04
    gradient of bias        below 1e-12   below 1e-04
    """
    if not inputs:
        raise TypeError("assert_equivalent needs an example input: assert_equivalent(f, g, x).")
    pairs = dict(parameters or {})
    found: list[Comparison] = []
    for dtype in dtypes:
        left_tensors = _run(left, inputs, list(pairs), dtype, side="left")
        right_tensors = _run(right, inputs, list(pairs.values()), dtype, side="right")
        names = _names(len(inputs), list(pairs))
        size = max(left_tensors[0].abs().max().item(), right_tensors[0].abs().max().item())
        for name, one, other in zip(names, left_tensors, right_tensors, strict=True):
            found.append(_compare(name, one, other, dtype, tolerance[dtype], size))
    return Equivalence(tuple(found))


def _names(inputs: int, parameters: Sequence[str]) -> list[str]:
    which = ["the input"] if inputs == 1 else [f"input {i}" for i in range(inputs)]
    return [
        "output",
        *(f"gradient of {name}" for name in which),
        *(f"gradient of {name}" for name in parameters),
    ]


def _run(
    f: nn.Module | Function,
    inputs: Sequence[Tensor],
    parameters: Sequence[str],
    dtype: torch.dtype,
    side: str,
) -> list[Tensor]:
    """Give the output, the gradients of the inputs and those of the named parameters."""
    if isinstance(f, nn.Module):
        f = copy.deepcopy(f).to(dtype)
        f.zero_grad()
    watched = [x.detach().clone().to(dtype).requires_grad_() for x in inputs]
    weights = [_parameter(f, name, side) for name in parameters]
    try:
        output = f(*watched)
    except RuntimeError as error:
        if "dtype" not in str(error) and "type" not in str(error):
            raise
        raise TypeError(
            f"{side} does not run in {dtype}: {error}. A plain function that holds tensors of one "
            "dtype cannot be converted: pass an nn.Module, or dtypes=(the one it works in,)."
        ) from error
    # A fixed random weighting of the output stands for "any loss": all outputs count, none alike.
    seed = torch.Generator().manual_seed(0)
    weighting = torch.randn(output.shape, generator=seed, dtype=torch.float64).to(dtype)
    if not output.any():
        raise ValueError(
            f"{side}'s output is empty or all zero, so there is nothing to compare. "
            "Give an input that both sides turn into numbers."
        )
    if not output.requires_grad:
        raise ValueError(
            f"{side}'s output carries no gradient: is there a detach() or no_grad() in it? "
            "assert_equivalent compares gradients as well as values."
        )
    gradients = torch.autograd.grad(
        (output * weighting).sum(), [*watched, *weights], materialize_grads=True
    )
    return [output.detach(), *gradients]


def _parameter(f: nn.Module | Function, name: str, side: str) -> Tensor:
    if not isinstance(f, nn.Module):
        raise TypeError(f"{side} is a plain function: it has no parameter {name!r} to compare.")
    known = dict(f.named_parameters())
    if name not in known:
        raise KeyError(f"{side} has no parameter {name!r}; it has {', '.join(known) or 'none'}.")
    return known[name]


def _compare(
    what: str, left: Tensor, right: Tensor, dtype: torch.dtype, allowed: float, size: float
) -> Comparison:
    if what.startswith("gradient of") and left.numel() == right.numel():
        right = right.reshape(left.shape)  # (out, in) beside (out, in, 1, 1): the same numbers
    if left.shape != right.shape:
        raise AssertionError(
            f"{what}: left has shape {tuple(left.shape)} and right {tuple(right.shape)}. "
            "Is one of them channels first and the other channels last? See OnPixels."
        )
    smallest = size if what.startswith("gradient of") else 0.0
    comparison = Comparison(what, dtype, normwise_difference(left, right, smallest), allowed)
    if comparison.agrees:
        return comparison
    flat = (left - right).abs().nan_to_num(nan=float("inf")).flatten().argmax().item()
    where = tuple(int(i) for i in torch.unravel_index(torch.tensor(flat), left.shape))
    raise AssertionError(
        f"{what} differs in {dtype}: at {list(where)} left has {left[where].item():.6g} and right "
        f"{right[where].item():.6g}. Normwise difference {comparison.difference:.2g}, "
        f"allowed {allowed:.0e}."
    )


class OnPixels(nn.Module):
    """A layer that works on the last axis, applied to every pixel of an image.

    Takes images ``(B, C, *grid)``, gives the layer channels-last ``(B, *grid, C)``, and puts the
    channels of its answer back in their place: what ConvNeXt's code does around its Linear layers
    (``models/convnext.py``, the two ``permute`` calls).

    Examples
    --------
    >>> OnPixels(nn.Linear(3, 8))(torch.randn(2, 3, 5, 7)).shape
    torch.Size([2, 8, 5, 7])
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, image: Tensor) -> Tensor:
        """Apply the layer to ``(B, C, *grid)``; gives ``(B, C_out, *grid)``."""
        return self.layer(image.movedim(1, -1)).movedim(-1, 1)


def linear_from_pointwise(conv: nn.Conv1d | nn.Conv2d) -> nn.Linear:
    """Copy a 1x1 convolution's weights into a Linear.

    Parameters
    ----------
    conv
        Kernel size 1, stride 1, padding 0, groups 1. Weight ``(C_out, C_in, 1[, 1])``.

    Returns
    -------
    nn.Linear
        Weight ``(C_out, C_in)``, in the same dtype and on the same device, with a bias if the
        convolution has one.

    Raises
    ------
    TypeError, ValueError
        If `conv` is not a 1x1 convolution. The message names the setting in the way.

    Examples
    --------
    >>> linear_from_pointwise(nn.Conv2d(3, 8, 1))
    Linear(in_features=3, out_features=8, bias=True)

    Notes
    -----
    Source: Lin, Chen, Yan, "Network in Network" (2014), section 3.1: the same small network slides
    over all places of the image; its layers after the first are 1x1 convolutions.
    """
    if not isinstance(conv, nn.Conv1d | nn.Conv2d):
        raise TypeError(f"expected an nn.Conv1d or nn.Conv2d, got {type(conv).__name__}.")
    ones, zeros = (1,) * len(conv.kernel_size), (0,) * len(conv.kernel_size)
    wanted = {"kernel_size": ones, "stride": ones, "padding": zeros, "groups": 1}
    for name, value in wanted.items():
        actual = getattr(conv, name)
        if name == "padding" and actual in ("valid", "same"):
            continue  # both add nothing around a kernel of size 1
        if actual != value:
            raise ValueError(
                f"{name} is {actual}, expected {value}: the weights of a 1x1 convolution fit a "
                "Linear if it has stride 1, no padding and one group."
            )
    linear = nn.Linear(conv.in_channels, conv.out_channels, bias=conv.bias is not None)
    linear = linear.to(conv.weight)
    _copy(conv.weight.flatten(1), linear.weight)
    if conv.bias is not None:
        _copy(conv.bias, linear.bias)
    return linear


def pointwise_from_linear(linear: nn.Linear, dims: int = 2) -> nn.Conv1d | nn.Conv2d:
    """Copy a Linear's weights into a 1x1 convolution over `dims` spatial dimensions.

    Parameters
    ----------
    linear
        Weight ``(C_out, C_in)``.
    dims
        1 for sequences ``(B, C, L)``, 2 for images ``(B, C, H, W)``.

    Returns
    -------
    nn.Conv1d or nn.Conv2d
        Weight ``(C_out, C_in, 1)`` or ``(C_out, C_in, 1, 1)``.

    Raises
    ------
    TypeError, ValueError
        If `linear` is not a Linear, or `dims` is neither 1 nor 2.

    Examples
    --------
    >>> pointwise_from_linear(nn.Linear(3, 8))
    Conv2d(3, 8, kernel_size=(1, 1), stride=(1, 1))
    """
    if not isinstance(linear, nn.Linear):
        raise TypeError(f"expected an nn.Linear, got {type(linear).__name__}.")
    if dims not in (1, 2):
        raise ValueError(f"dims is {dims}, expected 1 (sequences) or 2 (images).")
    kind = {1: nn.Conv1d, 2: nn.Conv2d}[dims]
    conv = kind(linear.in_features, linear.out_features, 1, bias=linear.bias is not None)
    conv = conv.to(linear.weight)
    _copy(linear.weight.reshape(conv.weight.shape), conv.weight)
    if linear.bias is not None:
        _copy(linear.bias, conv.bias)
    return conv


def fold_scale(linear: nn.Linear, scale: Tensor) -> nn.Linear:
    """Give the Linear that computes ``scale * linear(x)``: a per-channel scale costs nothing.

    Parameters
    ----------
    linear
        Weight ``(C_out, C_in)``.
    scale
        One factor for each output channel, ``(C_out,)``: ConvNeXt's layer scale ``gamma``.

    Returns
    -------
    nn.Linear
        Weight ``scale[:, None] * W``, bias ``scale * b``.

    Raises
    ------
    ValueError
        If `scale` does not hold one number for each output channel.

    Examples
    --------
    >>> fold_scale(nn.Linear(3, 8), torch.full((8,), 0.5))
    Linear(in_features=3, out_features=8, bias=True)

    Notes
    -----
    Source of layer scale: Touvron et al., "Going deeper with Image Transformers" (2021), section 2.
    """
    if scale.shape != (linear.out_features,):
        raise ValueError(
            f"scale has shape {tuple(scale.shape)}, expected ({linear.out_features},): "
            "one factor for each output channel."
        )
    folded = copy.deepcopy(linear)
    _copy(linear.weight * scale[:, None], folded.weight)
    if linear.bias is not None:
        _copy(linear.bias * scale, folded.bias)
    return folded


def _copy(source: Tensor, target: Tensor) -> None:
    with torch.no_grad():
        target.copy_(source)
