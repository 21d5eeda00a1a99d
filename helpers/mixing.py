r"""The mixing equation: every layer that mixes is ``Y = sum_h A_h X W_h + b``.

The rows of X are tokens (pixels). ``A_h`` mixes tokens, ``W_h`` mixes channels, h counts terms
(heads). `as_mixing` reads A, W and b off a real PyTorch layer; `matrix_by_probing` gives the same
operator as one dense matrix, from what the layer does alone.

The form by itself proves nothing: any linear map fits it with enough terms. What is compared
between layers is the structure of A and W, and who chooses them.

Sources: Cordonnier, Loukas, Jaggi (2020), "On the Relationship between Self-Attention and
Convolutional Layers", for convolution as a sum over heads, one per offset. Han et al. (2022), "On
the Connection between Local Attention and Dynamic Depth-wise Convolution", for who shares and who
chooses the weights.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch

import torch
from torch import Tensor, nn

from helpers.probing import (
    NotAffineError,
    matrix_by_probing,
    refuse_active_dropout,
    require_affine,
)
from helpers.tokens import (
    check_example,
    check_layout,
    from_tokens,
    refuse_above_limit,
    to_tokens,
)

__all__ = [
    "Mixing",
    "as_mixing",
    "from_tokens",
    "matrix_by_probing",
    "register_lift",
    "to_tokens",
]

Grid = tuple[int, ...]


# --- the form ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class Mixing:
    """A layer in the form ``Y = sum_h A_h X W_h + b``.

    Parameters
    ----------
    token
        A, the token mixing: ``(1, H, N_out, N_in)``, or ``(B, H, N_out, N_in)`` if it was
        computed from a batch of B samples.
    channel
        W, the channel mixing: ``(H, C_in, C_out)``.
    bias
        b: ``(1, C_out)`` if all tokens share it, else ``(N_out, C_out)``. Zeros for no bias.
    grid_in, grid_out
        The sizes of the image before and after, ``(height, width)`` or ``(length,)``; their
        products are ``N_in`` and ``N_out``. ``()`` stands for a single token.
    depends_on_input
        Whether A was computed from the input. Then it is frozen at that input.
    learned_token, learned_channel
        How many distinct learned weights of the layer A and W are made of. Biases are not in it.

    Raises
    ------
    ValueError
        If two shapes contradict each other. The message names which.

    Examples
    --------
    Two tokens change places and their one channel is doubled:

    >>> swap = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    >>> mixing = Mixing(swap[None, None], torch.tensor([[[2.0]]]), torch.zeros(1, 1), (2,), (2,))
    >>> mixing(torch.tensor([[[3.0], [5.0]]])).tolist()
    [[[10.0], [6.0]]]
    >>> mixing
    Mixing  Y = sum_h A_h X W_h + b
      terms     1
      tokens    2 (2) -> 2 (2)
      channels  1 -> 1
      A         fixed: no weights
      W         fixed: no weights
      b         zero
    """

    token: Tensor
    channel: Tensor
    bias: Tensor
    grid_in: Grid
    grid_out: Grid
    depends_on_input: bool = False
    learned_token: int = 0
    learned_channel: int = 0

    def __post_init__(self) -> None:
        for name, axes in _AXES.items():
            tensor = getattr(self, name)
            if not isinstance(tensor, Tensor) or tensor.dim() != len(axes) or 0 in tensor.shape:
                got = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
                raise ValueError(f"{name} is {got}: expected a tensor ({', '.join(axes)}).")
            if (tensor.dtype, tensor.device) != (self.token.dtype, self.token.device):
                raise ValueError(
                    f"{name} has {tensor.dtype} on {tensor.device}, token has {self.token.dtype} "
                    f"on {self.token.device}: expected one dtype and one device."
                )
        for culprit, got, what, expected in (
            ("channel", self.channel.shape[0], "terms H, as many as token", {self.heads}),
            ("bias", self.bias.shape[0], "rows (1 or N_out)", {1, self.n_out}),
            ("bias", self.bias.shape[1], "channels C_out", {self.c_out}),
            ("grid_in", math.prod(self.grid_in), "positions N_in", {self.n_in}),
            ("grid_out", math.prod(self.grid_out), "positions N_out", {self.n_out}),
        ):
            if got not in expected:
                wanted = " or ".join(str(n) for n in sorted(expected))
                raise ValueError(f"{culprit} has {got} {what}: expected {wanted}.")
        if self.token.shape[0] > 1 and not self.depends_on_input:
            raise ValueError(
                f"token has one A for each of {self.token.shape[0]} samples, but depends_on_input "
                "is False: expected (1, H, N_out, N_in), or depends_on_input=True."
            )

    @property
    def heads(self) -> int:
        """H, the number of terms. A reading of the layer, not a property of the operator."""
        return self.token.shape[1]

    @property
    def n_in(self) -> int:
        """Number of tokens before."""
        return self.token.shape[3]

    @property
    def n_out(self) -> int:
        """Number of tokens after."""
        return self.token.shape[2]

    @property
    def c_in(self) -> int:
        """Number of channels before."""
        return self.channel.shape[1]

    @property
    def c_out(self) -> int:
        """Number of channels after."""
        return self.channel.shape[2]

    @property
    def learned_weights(self) -> int:
        """Number of distinct learned weights that A and W are made of, biases not counted."""
        return self.learned_token + self.learned_channel

    def __call__(self, tokens: Tensor) -> Tensor:
        """Apply the equation to tokens.

        Parameters
        ----------
        tokens
            X: ``(B, N_in, C_in)``. For an image: ``image.flatten(2).transpose(1, 2)``.

        Returns
        -------
        Tensor
            Y: ``(B, N_out, C_out)``.

        Raises
        ------
        ValueError
            If the shape or dtype does not fit, or A depends on the input and was computed for
            another number of samples.
        """
        self._check_tokens(tokens)
        y = self.bias
        for a, w in zip(self.token.unbind(1), self.channel, strict=True):
            y = y + a @ tokens @ w
        return y

    def matrix(self, sample: int = 0) -> Tensor:
        """Give the whole operator as one dense matrix; the bias is not part of it.

        Parameters
        ----------
        sample
            Which sample's A, where A depends on the input. Otherwise only 0.

        Returns
        -------
        Tensor
            ``(N_out * C_out, N_in * C_in)``, in the order of ``tokens.flatten(1)``: token by
            token, the channels of a token together.

        Raises
        ------
        ValueError
            If it would take more than 256 MiB.
        IndexError
            If there is no such sample.

        Examples
        --------
        >>> linear = nn.Linear(2, 1, bias=False)
        >>> linear.weight.data = torch.tensor([[3.0, 4.0]])
        >>> as_mixing(linear, torch.zeros(1, 2, 2)).matrix().tolist()
        [[3.0, 4.0, 0.0, 0.0], [0.0, 0.0, 3.0, 4.0]]
        """
        rows, columns = self.n_out * self.c_out, self.n_in * self.c_in
        refuse_above_limit(
            f"matrix(): {rows:,} x {columns:,} {self.token.dtype}",
            rows * columns,
            self.token.dtype,
            "the image or the number of channels",
        )
        a = self.token[self._sample(sample)]
        matrix = a.new_empty(self.n_out, self.c_out, self.n_in, self.c_in)
        for i in range(self.n_out):  # one output token at a time: no second copy of the matrix
            matrix[i] = torch.einsum("hj,hcd->djc", a[:, i], self.channel)
        return matrix.view(rows, columns)

    def row(self, query: int | Grid, head: int = 0, sample: int = 0) -> Tensor:
        """Give what one output position reads: a row of ``A_h``, laid back over the input image.

        Parameters
        ----------
        query
            The output position: its number, or its place on `grid_out`, such as ``(row, column)``.
        head, sample
            Which term, and which sample where A depends on the input.

        Returns
        -------
        Tensor
            The weights, of shape `grid_in`.

        Raises
        ------
        IndexError
            If there is no such position, term or sample.

        Examples
        --------
        >>> moving_sum = nn.Conv1d(1, 1, 3, padding=1, bias=False)
        >>> moving_sum.weight.data.fill_(1.0)
        tensor([[[1., 1., 1.]]])
        >>> as_mixing(moving_sum, torch.zeros(1, 1, 5)).row(1).tolist()
        [1.0, 1.0, 1.0, 0.0, 0.0]
        """
        if head not in range(self.heads):
            raise IndexError(f"head={head}: this lift has terms 0 to {self.heads - 1}.")
        number = self._query(query)
        return self.token[self._sample(sample), head, number].reshape(self.grid_in)

    def nonzeros(self, of: str = "matrix", sample: int = 0) -> int:
        """Count the entries that are not zero in the ``"matrix"``, in ``"token"`` or ``"channel"``.

        Raises
        ------
        ValueError
            If `of` is another word, or the matrix would take more than 256 MiB.
        """
        if of == "matrix":
            return int(self.matrix(sample).count_nonzero())
        if of == "token":
            return int(self.token[self._sample(sample)].count_nonzero())
        if of == "channel":
            return int(self.channel.count_nonzero())
        raise ValueError(f"of={of!r}: expected 'matrix', 'token' or 'channel'.")

    def __repr__(self) -> str:
        samples = self.token.shape[0]
        chooser = _chooser(self.learned_token)
        if self.depends_on_input:
            plural = "sample" if samples == 1 else "samples"
            chooser = f"computed from the input: frozen here at {samples} {plural}"
        bias = "zero"
        if self.bias.count_nonzero():
            bias = "one for all tokens" if self.bias.shape[0] == 1 else "one for each token"
            bias += " (not counted among the weights)"
        grids = [" x ".join(map(str, g)) or "one token" for g in (self.grid_in, self.grid_out)]
        return "\n".join(
            (
                "Mixing  Y = sum_h A_h X W_h + b",
                f"  terms     {self.heads}",
                f"  tokens    {self.n_in} ({grids[0]}) -> {self.n_out} ({grids[1]})",
                f"  channels  {self.c_in} -> {self.c_out}",
                f"  A         {chooser}",
                f"  W         {_chooser(self.learned_channel)}",
                f"  b         {bias}",
            )
        )

    def _check_tokens(self, tokens: Tensor) -> None:
        shape, expected = tuple(tokens.shape), f"(batch, {self.n_in}, {self.c_in})"
        if tokens.dim() == 4:
            raise ValueError(
                f"got an image of shape {shape}: expected tokens {expected}. Make tokens of it by "
                "image.flatten(2).transpose(1, 2)."
            )
        if tokens.dim() != 3 or shape[1:] != (self.n_in, self.c_in):
            raise ValueError(f"got tokens of shape {shape}: expected {expected}.")
        if tokens.dtype != self.token.dtype:
            raise ValueError(f"got tokens of {tokens.dtype}: expected {self.token.dtype}.")
        if self.depends_on_input and shape[0] != self.token.shape[0]:
            raise ValueError(
                f"got a batch of {shape[0]}: A was computed from the input and is frozen for the "
                f"{self.token.shape[0]} it was lifted at. Lift the layer again at this input."
            )

    def _sample(self, sample: int) -> int:
        if sample not in range(self.token.shape[0]):
            held = "one A for every input, sample=0"
            if self.depends_on_input:
                held = f"the A of samples 0 to {self.token.shape[0] - 1}"
            raise IndexError(f"sample={sample}: this lift holds {held}.")
        return sample

    def _query(self, query: int | Grid) -> int:
        on_grid = isinstance(query, tuple | list)
        place = query if on_grid else (query,)
        sizes = self.grid_out if on_grid else (self.n_out,)
        inside = len(place) == len(sizes) and all(
            p in range(n) for p, n in zip(place, sizes, strict=True)
        )
        if not inside:
            raise IndexError(
                f"query={query}: expected a number from 0 to {self.n_out - 1}, or a place on the "
                f"output grid {self.grid_out}."
            )
        number = 0
        for p, n in zip(place, sizes, strict=True):
            number = number * n + p
        return number


_AXES = {
    "token": ("1 or B", "H", "N_out", "N_in"),
    "channel": ("H", "C_in", "C_out"),
    "bias": ("1 or N_out", "C_out"),
}


def _chooser(learned: int) -> str:
    """Say who chooses a matrix that the input does not choose."""
    if not learned:
        return "fixed: no weights"
    return f"learned: {learned:,} weight" + ("s" if learned > 1 else "")


# --- from a layer to the form --------------------------------------------------------------------


def as_mixing(
    layer: nn.Module,
    x: Tensor,
    *,
    view: str | None = None,
    layout: str | None = None,
    **options: Tensor | None,
) -> Mixing:
    """Lift a PyTorch layer into the mixing equation, exactly.

    Lifts `nn.Identity`, `nn.Linear`, `nn.Conv1d`, `nn.Conv2d`, `nn.AvgPool1d`, `nn.AvgPool2d`,
    `nn.MultiheadAttention` as self-attention, and dropout in eval mode; `helpers.mixers` adds its
    own layers, `register_lift` further types. Weights are copied: training the layer afterwards
    does not change the lift.

    Parameters
    ----------
    layer
        The layer. Parametrizations (`torch.nn.utils.parametrizations.weight_norm`, ...) are
        resolved; hooks and an overridden ``forward`` are refused, as they change what the layer
        computes.
    x
        An example input in the layer's own layout, batch included. It gives the sizes.
    view
        How to read a depthwise convolution: ``"heads"``, its default, one term per output
        channel, A learned and W fixed; or ``"shifts"``, one term per kernel offset, A fixed and
        W learned. Depthwise means ``groups == in_channels``, with any multiple of it as output
        channels; a convolution of one input channel is depthwise too. Every other convolution
        has only ``"shifts"``, and other layers have one reading.
    layout
        For `nn.Identity`, dropout and `nn.Linear`, whose type does not tell: ``"channels_last"``
        (default) or ``"channels_first"``. A Linear acts on the last axis whatever the layout, so
        on a channels-first image it mixes tokens along the width.
    **options
        What the layer's ``forward`` takes beside x and A depends on: ``attn_mask`` and
        ``key_padding_mask`` for attention. `helpers.attention_lifts` says which shapes, and why
        the weights that `nn.MultiheadAttention` returns by default are no head's A.

    Returns
    -------
    Mixing
        Applied to the tokens of an input it gives the tokens of ``layer(input)``.

    Raises
    ------
    TypeError
        If `layer` is no module, or of a class that cannot be lifted: the message says whether it
        is linear in X, and what to do instead. If `x` is no tensor of real numbers. If an option
        is given that this layer does not know.
    ValueError
        If `x` or a mask does not fit the layer, a query may look at no key, dropout is active,
        weights are uninitialised, the view or layout does not exist, or the lift would take more
        than 256 MiB.

    Examples
    --------
    >>> conv = nn.Conv2d(4, 8, 3, padding=1)
    >>> image = torch.randn(2, 4, 5, 5)
    >>> mixing = as_mixing(conv, image)
    >>> mixing
    Mixing  Y = sum_h A_h X W_h + b
      terms     9
      tokens    25 (5 x 5) -> 25 (5 x 5)
      channels  4 -> 8
      A         fixed: no weights
      W         learned: 288 weights
      b         one for all tokens (not counted among the weights)
    >>> torch.allclose(mixing(to_tokens(image)), to_tokens(conv(image)), atol=1e-5)
    True
    """
    if not isinstance(layer, nn.Module):
        raise TypeError(
            f"layer has type {type(layer).__name__}: expected an nn.Module. For a function, use "
            "matrix_by_probing(f, x)."
        )
    check_example(x)
    if view not in (None, "heads", "shifts"):
        raise ValueError(f"view={view!r}: expected 'heads' or 'shifts'.")
    if layout is not None:
        check_layout(layout)
    _check_initialised(layer)
    refuse_active_dropout(layer)
    registered = _registered_type(type(layer))
    if registered is not None:
        _check_unaltered(layer, registered)
        _check_options(layer, registered, options)
        _check_dtype(layer, x)
    with torch.no_grad():
        _check_steady(layer)
        return _lift(layer, x, view=view, layout=layout, **options)


Lift = Callable[..., Mixing]


def register_lift(layer_type: type[nn.Module]) -> Callable[[Lift], Lift]:
    """Teach `as_mixing` a further type of layer. A decorator.

    The function gets the layer, the checked example input, and ``view`` and ``layout`` as
    keywords (None where the caller gave none); it returns a `Mixing`. It runs without gradients.
    Further keywords that it names (``attn_mask=None``) are those that `as_mixing` passes on.

    Examples
    --------
    >>> class Double(nn.Module):
    ...     def forward(self, x):
    ...         return 2 * x
    >>> @register_lift(Double)
    ... def _double(layer, x, *, view, layout):
    ...     eye = torch.eye(x.shape[1], dtype=x.dtype)[None, None]
    ...     w = 2 * torch.eye(x.shape[2], dtype=x.dtype)[None]
    ...     return Mixing(eye, w, x.new_zeros(1, x.shape[2]), x.shape[1:2], x.shape[1:2])
    >>> as_mixing(Double(), torch.ones(1, 3, 2)).matrix().diagonal().tolist()
    [2.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    """
    return _lift.register(layer_type)


@singledispatch
def _lift(
    layer: nn.Module, x: Tensor, *, view: str | None, layout: str | None, **options: Tensor | None
) -> Mixing:
    """Explain why a layer of a type that nobody registered has no lift."""
    name = type(layer).__name__
    try:
        require_affine(layer, x, layout=layout)
    except NotAffineError as error:
        raise TypeError(
            f"{name} cannot be lifted: it is not linear in X. {error.where}"
            + (_parts(layer) or " Lift the Linear or convolution layers before and after it.")
        ) from None
    except ValueError as error:
        raise TypeError(f"as_mixing has no lift for {name}. {error}{_parts(layer)}") from None
    raise TypeError(
        f"as_mixing has no lift for {name}. It is linear in X, though, so "
        "matrix_by_probing(layer, x) gives its matrix; register_lift adds a lift of your own."
        f"{_parts(layer)}"
    )


def _parts(layer: nn.Module) -> str:
    """Name the layers inside this one that can be lifted."""
    parts = [
        f"{path!r} ({type(module).__name__})"
        for path, module in layer.named_modules()
        if path and _registered_type(type(module))
    ]
    more = f" and {len(parts) - 4} more" if len(parts) > 4 else ""
    return f" Its parts can be lifted: {', '.join(parts[:4])}{more}." if parts else ""


def _registered_type(layer_type: type) -> type | None:
    """Give the registered class that dispatch would choose for this class."""
    known = [cls for cls in layer_type.__mro__ if cls in _lift.registry and cls is not object]
    return known[0] if known else None


def _check_initialised(layer: nn.Module) -> None:
    if any(nn.parameter.is_lazy(p) for p in layer.parameters()):
        raise ValueError(
            f"{type(layer).__name__} has no weights yet, for it is lazy: call layer(x) once, then "
            "lift it."
        )


def _check_unaltered(layer: nn.Module, registered: type) -> None:
    """Refuse a layer that computes something else than its registered class does."""
    name = type(layer).__name__
    for method in ("forward", "_conv_forward", "__call__"):
        same = getattr(type(layer), method, None) is getattr(registered, method, None)
        if not same or method in vars(layer):
            raise TypeError(
                f"{name} has a {method} of its own, so it may compute something else than "
                f"{registered.__name__}, and is not lifted as one. Look at it with "
                "matrix_by_probing(layer, x), or register_lift its class."
            )
    for path, module in layer.named_modules():
        if module._forward_hooks or module._forward_pre_hooks:
            where = f" at {path!r}" if path else ""
            raise TypeError(
                f"{name} has a forward hook{where}, which may change what it computes, so it is "
                "not lifted. Remove the hook (for weight norm and pruning: use "
                "torch.nn.utils.parametrizations, prune.remove), or look at the layer with "
                "matrix_by_probing(layer, x)."
            )


def _check_options(layer: nn.Module, registered: type, options: dict[str, Tensor | None]) -> None:
    """Refuse an option that the lift of this class does not name."""
    known = list(inspect.signature(_lift.registry[registered]).parameters)[4:]
    for name in options:
        if name not in known:
            takes = f"It takes {' and '.join(known)}." if known else "It takes no options."
            raise TypeError(
                f"as_mixing got {name}=, which {type(layer).__name__} does not know. {takes}"
            )


def _check_steady(layer: nn.Module) -> None:
    """Refuse weights that change whenever they are read."""
    for name in getattr(layer, "parametrizations", ()):
        if not torch.equal(getattr(layer, name), getattr(layer, name)):
            raise ValueError(
                f"{type(layer).__name__}.{name} is parametrized and changes with every call, as "
                "spectral norm does in training mode. Call .eval() first."
            )


def _check_dtype(layer: nn.Module, x: Tensor) -> None:
    for name, parameter in layer.named_parameters():
        if (parameter.dtype, parameter.device) != (x.dtype, x.device):
            raise ValueError(
                f"x has {x.dtype} on {x.device}, {type(layer).__name__}.{name} has "
                f"{parameter.dtype} on {parameter.device}: expected the same, for example "
                f"x.to(layer.{name})."
            )


# The lifts of torch.nn's own layers register themselves. They need the names above, hence last.
from helpers import attention_lifts as _attention_lifts  # noqa: E402, F401
from helpers import lifts as _lifts  # noqa: E402, F401
