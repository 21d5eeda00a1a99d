"""The matrix of a function that is known only by what it does: feed it unit vectors.

This is the independent oracle beside `helpers.mixing.as_mixing`. It reads no weight and shares
with the lifts only the order of tokens, so the two are unlikely to be wrong in the same way. A
matrix describes a function only if the function is affine, f(x) = M x + c, so that is checked
first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from helpers.tokens import (
    channel_axis,
    check_example,
    check_layout,
    from_tokens,
    grid_of,
    refuse_above_limit,
    to_tokens,
)

#: Largest normwise departure from an affine function that rounding may explain, by dtype.
TOLERANCE = {
    torch.float64: 1e-10,
    torch.float32: 1e-4,
    torch.float16: 5e-2,
    torch.bfloat16: 2e-1,
}

#: A function may be affine near zero and not far from it (or the reverse), so it is tried at each.
SCALES = (1e-2, 1.0, 1e2)

#: Numbers fed at once: bounds the memory that probing takes beside the matrix itself.
CHUNK_ENTRIES = 2**19

#: Where torch.nn keeps the layers whose channels are on axis 1.
_CHANNELS_FIRST_MODULES = {
    "torch.nn.modules.batchnorm",
    "torch.nn.modules.conv",
    "torch.nn.modules.instancenorm",
    "torch.nn.modules.padding",
    "torch.nn.modules.pixelshuffle",
    "torch.nn.modules.pooling",
    "torch.nn.modules.upsampling",
}

Function = Callable[[Tensor], Tensor]


class NotAffineError(ValueError):
    """The function is not of the form f(x) = M x + c. `where` says where, and by how much."""

    def __init__(self, name: str, where: str) -> None:
        super().__init__(f"{name} is not linear: {where}")
        self.where = where


def matrix_by_probing(
    f: Function | nn.Module, x: Tensor, *, layout: str | tuple[str, str] | None = None
) -> Tensor:
    """Build the dense matrix of an affine function by feeding it unit vectors.

    Column (j, c) is ``f(e) - f(0)`` for the example e that is 1 at token j, channel c and 0
    elsewhere. The constant ``f(0)`` is not part of the matrix. Before that, `f` is checked on
    random inputs of several sizes: the same answer twice, each sample by itself, affine.

    Parameters
    ----------
    f
        A function or module that takes ``(B, ...)`` for any batch size B and returns a tensor
        with the same B. A module's buffers (running statistics) are left as they were.
        `nn.MultiheadAttention` is called as self-attention, in its own layout.
    x
        An example input in the layout of `f`, batch included. Only its shape, dtype and device
        matter for the matrix; its first sample is one of the inputs that `f` is checked on.
    layout
        Where channels are, in input and output: ``"channels_first"``, ``"channels_last"``, or a
        pair of these where input and output differ. Default: channels first for a module whose
        first leaf is a convolution, pooling, batch norm or another image layer of `torch.nn`;
        channels last for every other module and for plain functions.

    Returns
    -------
    Tensor
        ``(N_out * C_out, N_in * C_in)``, rows and columns in the order of ``tokens.flatten(1)``:
        token by token, the channels of a token together. The dtype is that of the output of `f`.

    Raises
    ------
    NotAffineError
        If `f` is not affine. It is a `ValueError`, and says where: token, channel, how much.
    ValueError
        If `f` fails on an input like `x`, gives different answers to one input, lets samples of
        a batch influence each other, or its matrix would take more than 256 MiB; if the layout
        has another name, or `x` is not a batch of finite numbers.
    TypeError
        If `f` is not callable, or `x` is no tensor of real numbers.

    Examples
    --------
    >>> conv = nn.Conv1d(1, 1, 3, padding=1, bias=False)
    >>> conv.weight.data = torch.tensor([[[1.0, 2.0, 3.0]]])
    >>> matrix_by_probing(conv, torch.zeros(1, 1, 4)).tolist()  # doctest: +NORMALIZE_WHITESPACE
    [[2.0, 3.0, 0.0, 0.0], [1.0, 2.0, 3.0, 0.0], [0.0, 1.0, 2.0, 3.0], [0.0, 0.0, 1.0, 2.0]]
    >>> matrix_by_probing(nn.ReLU(), torch.zeros(1, 2, 1))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    helpers.probing.NotAffineError: ReLU is not linear: f(u) + f(v) - f(u + v) - f(0) should be ...
    """
    if not callable(f):
        raise TypeError(f"f has type {type(f).__name__}: expected a function or an nn.Module.")
    check_example(x)
    layouts = _layouts(f, layout)
    with torch.no_grad():
        probe = _Probe(f, x, layouts)
        inputs, outputs = check_affine(probe)
        return _fill(probe, inputs, outputs)


def require_affine(f: Function | nn.Module, x: Tensor, *, layout: str | None = None) -> None:
    """Check all that `matrix_by_probing` checks before it builds the matrix.

    Raises
    ------
    NotAffineError
        If `f` is not affine.
    ValueError
        If `f` fails on an input like `x`, or does not treat samples one by one, always alike.
    """
    with torch.no_grad():
        check_affine(_Probe(f, x, _layouts(f, layout)))


def refuse_active_dropout(layer: nn.Module) -> None:
    """Raise a `ValueError` if the layer, or one inside it, is a dropout that drops."""
    for path, module in layer.named_modules():
        rate, what = 0.0, "is"
        if isinstance(module, nn.modules.dropout._DropoutNd):
            rate = module.p
        elif isinstance(module, nn.MultiheadAttention):  # it drops weights of A, by a function
            rate, what = module.dropout, "has dropout that is"
        if module.training and rate > 0:
            name = type(module).__name__ + (f" at {path!r}" if path else "")
            raise ValueError(
                f"{name} {what} active (training mode, p = {rate}): its answer changes from call "
                "to call, so it has no one matrix. Call .eval() first."
            )


# --- one function, fed safely --------------------------------------------------------------------


class _Probe:
    """The function under test, taking and giving tokens, with every way to fail put in words."""

    def __init__(self, f: Function | nn.Module, x: Tensor, layouts: tuple[str, str]) -> None:
        if isinstance(f, nn.Module):
            refuse_active_dropout(f)
        if isinstance(f, nn.MultiheadAttention) and not f.batch_first:
            x = x.transpose(0, 1)
        self.name = type(f).__name__ if isinstance(f, nn.Module) else _name(f)
        self.f, self.x, self.layouts = f, x.detach(), layouts
        self.grid = grid_of(x, layouts[0])
        self.channels = x.shape[channel_axis(layouts[0])]

    def __call__(self, tokens: Tensor) -> Tensor:
        """Apply f to tokens ``(B, N_in, C_in)`` and give ``(B, N_out, C_out)``."""
        # A copy: f may write into its input, as nn.ReLU(inplace=True) does.
        image = from_tokens(tokens, self.grid, self.layouts[0]).clone()
        shape = tuple(image.shape)
        try:
            y = self._call(image)
        except Exception as error:
            said = str(error).rstrip(". ")
            raise ValueError(f"{self.name} fails on an input of shape {shape}: {said}.") from error
        if not isinstance(y, Tensor) or not y.is_floating_point():
            got = f"dtype {y.dtype}" if isinstance(y, Tensor) else f"type {type(y).__name__}"
            raise ValueError(f"{self.name} returns {got}: expected one tensor of real numbers.")
        if y.dim() < 2 or y.shape[0] != shape[0]:
            raise ValueError(
                f"{self.name} maps shape {shape} to {tuple(y.shape)}: expected the batch of "
                f"{shape[0]} on the first axis, and channels on another."
            )
        if y.numel() == 0:
            raise ValueError(f"{self.name} maps shape {shape} to {tuple(y.shape)}: nothing left.")
        return to_tokens(y.detach(), self.layouts[1])

    def _call(self, image: Tensor) -> Tensor:
        if not isinstance(self.f, nn.Module):
            return self.f(image)
        # Copies of the buffers take what the module writes (batch norm in training mode).
        buffers = {name: buffer.clone() for name, buffer in self.f.named_buffers()}
        if isinstance(self.f, nn.MultiheadAttention):
            return self._attend(image, buffers)
        return torch.func.functional_call(self.f, buffers, (image,))

    def _attend(self, tokens: Tensor, buffers: dict[str, Tensor]) -> Tensor:
        """Call PyTorch's attention with one x as query, key and value."""
        if not self.f.batch_first:
            tokens = tokens.transpose(0, 1)
        y, _ = torch.func.functional_call(self.f, buffers, (tokens,) * 3, {"need_weights": False})
        return y if self.f.batch_first else y.transpose(0, 1)


def _name(f: Function) -> str:
    name = getattr(f, "__name__", type(f).__name__)
    return "f" if name == "<lambda>" else name


def _layouts(f: Function | nn.Module, layout: str | tuple[str, str] | None) -> tuple[str, str]:
    """Settle where f has its channels, in input and output."""
    if layout is None:
        layout = "channels_first" if _starts_with_image_layer(f) else "channels_last"
    pair = (layout, layout) if isinstance(layout, str) else tuple(layout)
    if len(pair) != 2:
        raise ValueError(f"layout={layout!r}: expected one layout, or a pair (input, output).")
    for name in pair:
        check_layout(name)
    return pair


def _starts_with_image_layer(f: Function | nn.Module) -> bool:
    """Tell whether the first leaf of a module has its channels on axis 1."""
    for module in f.modules() if isinstance(f, nn.Module) else ():
        homes = {cls.__module__ for cls in type(module).__mro__}
        if homes & _CHANNELS_FIRST_MODULES:
            return True
        if not any(module.children()):
            return False
    return False


# --- is it affine? -------------------------------------------------------------------------------


def check_affine(probe: _Probe) -> tuple[Tensor, Tensor]:
    """Check that a function is deterministic, sample by sample, and affine.

    Returns
    -------
    tuple of Tensor
        The inputs it was tried on, ``(P, N_in, C_in)`` with zeros first, and its outputs.
    """
    inputs = _trial_inputs(probe)
    outputs = probe(inputs)
    tolerance = TOLERANCE.get(outputs.dtype, TOLERANCE[torch.float16])
    if not outputs.isfinite().all():
        raise ValueError(f"{probe.name} gives a NaN or an infinity on random finite inputs.")
    _check_repeats(probe, inputs, outputs, tolerance)
    _check_samples(probe, inputs, outputs, tolerance)
    for what, terms in _affine_identities():
        left = sum(factor * outputs[i] for i, factor in terms)
        largest = max(abs(factor) * outputs[i].abs().max().item() for i, factor in terms)
        if _exceeds(left, largest, tolerance):
            raise NotAffineError(probe.name, _where(what, left, largest))
    return inputs, outputs


def _trial_inputs(probe: _Probe) -> Tensor:
    """Stack 0, x, x + u, u and then s u, s v, s (u + v), -s u for each scale s."""
    # Drawn on the CPU with a generator of its own: the same everywhere, and the reader's random
    # numbers stay as they were.
    generator = torch.Generator().manual_seed(0)
    x = to_tokens(probe.x[:1], probe.layouts[0])[0]
    u, v = (torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x) for _ in "uv")
    trials = [torch.zeros_like(x), x, x + u, u]
    for s in SCALES:
        trials += [s * u, s * v, s * (u + v), -s * u]
    return torch.stack(trials)


def _affine_identities() -> Iterator[tuple[str, list[tuple[int, float]]]]:
    """Yield what vanishes for every affine f, as (index into the trial inputs, factor) terms."""
    additive = "f(u) + f(v) - f(u + v) - f(0)"
    yield additive, [(1, 1.0), (3, 1.0), (2, -1.0), (0, -1.0)]
    for n, s in enumerate(SCALES):
        first = 4 + 4 * n
        yield additive, [(first, 1.0), (first + 1, 1.0), (first + 2, -1.0), (0, -1.0)]
        yield "f(u) + f(-u) - 2 f(0)", [(first, 1.0), (first + 3, 1.0), (0, -2.0)]
        homogeneous = f"f({s:g} u) - f(0) - {s:g} (f(u) - f(0))"
        yield homogeneous, [(first, 1.0), (3, -s), (0, s - 1.0)]


def _check_repeats(probe: _Probe, inputs: Tensor, outputs: Tensor, tolerance: float) -> None:
    again = probe(inputs)
    if again.shape != outputs.shape or _exceeds(
        again - outputs, outputs.abs().max().item(), tolerance
    ):
        raise ValueError(
            f"{probe.name} gives two answers to one input: it draws random numbers or keeps a "
            "state. Call .eval() on a module with dropout; fix the seed inside a function."
        )


def _check_samples(probe: _Probe, inputs: Tensor, outputs: Tensor, tolerance: float) -> None:
    for i in range(4):
        alone, together = probe(inputs[i : i + 1])[0], outputs[i]
        if alone.shape != together.shape or _exceeds(
            alone - together, max(alone.abs().max().item(), together.abs().max().item()), tolerance
        ):
            raise ValueError(
                f"{probe.name} gives a sample another answer when it comes in another batch, so "
                "no matrix acts on one sample. Call .eval() on a module with batch norm; "
                "flatten from axis 1, never across the batch."
            )


def _exceeds(difference: Tensor, largest: float, tolerance: float) -> bool:
    """Tell whether a difference is more than rounding, measured normwise (NaN counts as more)."""
    return not difference.abs().max().item() <= tolerance * largest


def _where(what: str, difference: Tensor, largest: float) -> str:
    """Say at which token and channel a difference ``(N, C)`` is largest, and how large."""
    token, channel = divmod(int(difference.abs().argmax()), difference.shape[1])
    amount = difference[token, channel].abs().item()
    return (
        f"{what} should be 0, and is {amount:.2g} at token {token}, channel {channel} "
        f"(the outputs reach {largest:.2g})."
    )


# --- the matrix ----------------------------------------------------------------------------------


def _fill(probe: _Probe, inputs: Tensor, outputs: Tensor) -> Tensor:
    """Feed the unit vectors, chunk by chunk, and check the result on the trial inputs."""
    constant = outputs[0].flatten()
    rows, columns = constant.numel(), inputs[0].numel()
    refuse_above_limit(
        f"matrix_by_probing: a matrix of {rows:,} x {columns:,} {constant.dtype}",
        rows * columns,
        constant.dtype,
        "the image or the number of channels",
    )
    matrix = constant.new_empty(rows, columns)
    step = max(1, CHUNK_ENTRIES // max(rows, columns))
    for start in range(0, columns, step):
        stop = min(start + step, columns)
        units = inputs.new_zeros(stop - start, columns)
        units[torch.arange(stop - start), torch.arange(start, stop)] = 1
        answers = probe(units.view(-1, *inputs.shape[1:]))
        matrix[:, start:stop] = (answers.flatten(1) - constant).T
    _check_prediction(probe, matrix, inputs, outputs)
    return matrix


def _check_prediction(probe: _Probe, matrix: Tensor, inputs: Tensor, outputs: Tensor) -> None:
    """Check that the matrix predicts the trial outputs: unit vectors could be treated specially."""
    predicted = inputs.to(matrix).flatten(1) @ matrix.T + outputs[0].flatten()
    tolerance = TOLERANCE.get(matrix.dtype, TOLERANCE[torch.float16])
    for prediction, output in zip(predicted.view_as(outputs), outputs, strict=True):
        largest = max(prediction.abs().max().item(), output.abs().max().item())
        difference = prediction - output
        if _exceeds(difference, largest, tolerance):
            what = "M u + f(0) - f(u), with M from unit vectors,"
            raise NotAffineError(probe.name, _where(what, difference, largest))
