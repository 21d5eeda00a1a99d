"""What every mixer of the book has in common: A and W to read off, and one lift for all.

A mixer takes an image ``(B, C, H, W)`` and gives one of the same height and width. It says what
its A is at an image (`token_mixing`) and what its W is (`channel_mixing`); `helpers.mixing` lifts
it from these two. Its ``forward`` computes the same in the way that its paper does, so lift and
layer are two computations that must agree.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from helpers.mixing import Mixing, register_lift
from helpers.tokens import refuse_above_limit


class TokenMixer(nn.Module):
    """A layer that mixes tokens of an image ``(B, C, H, W)``; the base of the book's own mixers.

    A subclass sets `channels` and defines ``forward``, `token_mixing` and `channel_mixing`.
    """

    channels: int
    #: Whether A is computed from the image.
    depends_on_input = False

    def token_mixing(self, image: Tensor) -> Tensor:
        """Give A at this image: ``(B or 1, heads, N, N)``, 1 where all images have the same A."""
        raise NotImplementedError

    def channel_mixing(self) -> Tensor:
        """Give W: ``(heads, C_in, C_out)``."""
        raise NotImplementedError

    def constant(self, token: Tensor) -> Tensor:
        """Give b, ``(1 or N, C_out)``: what the layer adds whatever the tokens hold."""
        channels = self.channel_mixing().shape[2]
        return token.new_zeros(1, channels)


def lift_mixer(layer: TokenMixer, image: Tensor, **options: Tensor | None) -> Mixing:
    """Lift a mixer from its own A, W and b."""
    check_image(image, layer.channels)
    grid = tuple(image.shape[2:])
    channel = layer.channel_mixing().to(image, copy=True)
    samples = image.shape[0] if layer.depends_on_input else 1
    refuse_above_limit(
        f"as_mixing({type(layer).__name__}): A of {samples} x {channel.shape[0]} x "
        f"{math.prod(grid):,} x {math.prod(grid):,} {image.dtype}",
        samples * channel.shape[0] * math.prod(grid) ** 2,
        image.dtype,
        "the batch, the image or the number of heads",
    )
    token = layer.token_mixing(image, **options)
    in_token, in_channel = _count_weights(layer)
    return Mixing(
        token=token,
        channel=channel,
        bias=layer.constant(token).clone(),
        grid_in=grid,
        grid_out=grid,
        depends_on_input=layer.depends_on_input,
        learned_token=in_token,
        learned_channel=in_channel,
    )


def lifted(mixer: type[TokenMixer]) -> type[TokenMixer]:
    """Register the lift of a mixer class. A decorator."""

    @register_lift(mixer)
    def _lift(layer: TokenMixer, x: Tensor, *, view: str | None, layout: str | None) -> Mixing:
        check_reading(layer, view, layout)
        return lift_mixer(layer, x)

    return mixer


def check_reading(layer: nn.Module, view: str | None, layout: str | None) -> None:
    """Refuse a view, and the layout that these layers do not have."""
    if view is not None:
        raise ValueError(
            f"view={view!r}: {type(layer).__name__} has one reading, a term per head. Leave it out."
        )
    if layout == "channels_last":
        raise ValueError(
            f"layout='channels_last': {type(layer).__name__} reads (batch, channels, height, "
            "width). Leave layout out, and move the channels of x to axis 1."
        )


def check_image(image: Tensor, channels: int) -> None:
    """Check what every mixer takes: real numbers ``(B, C, H, W)`` with the right C.

    Raises
    ------
    TypeError
        If it is no tensor, or holds integers, booleans or complex numbers.
    ValueError
        If it has not four axes, or another number of channels.

    Examples
    --------
    >>> check_image(torch.zeros(2, 3, 8, 8), channels=3)
    >>> check_image(torch.zeros(2, 8, 8, 3), channels=3)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: image has shape (2, 8, 8, 3): axis 1 has 8 channels, expected 3. If the channels ...
    """
    if not isinstance(image, Tensor):
        raise TypeError(f"image has type {type(image).__name__}: expected a torch.Tensor.")
    if not image.is_floating_point():
        raise TypeError(
            f"image has dtype {image.dtype}: expected real numbers, for example image.double()."
        )
    shape = tuple(image.shape)
    if image.dim() != 4:
        batch = " Add the batch: image[None]." if image.dim() == 3 else ""
        raise ValueError(f"image has shape {shape}: expected (batch, {channels}, H, W).{batch}")
    if image.shape[1] != channels:
        moved = ""
        if image.shape[-1] == channels:
            moved = " If the channels are on the last axis: image.movedim(-1, 1)."
        raise ValueError(
            f"image has shape {shape}: axis 1 has {image.shape[1]} channels, expected "
            f"{channels}.{moved}"
        )


def head_selectors(channels: int, heads: int, like: Tensor) -> Tensor:
    """Give W of a layer that keeps channels apart: head h passes on its own block of channels.

    Returns
    -------
    Tensor
        ``(heads, C, C)``; their sum is the identity.

    Examples
    --------
    >>> head_selectors(4, 2, torch.zeros(1))[0].diagonal().tolist()
    [1.0, 1.0, 0.0, 0.0]
    """
    blocks = torch.eye(heads, dtype=like.dtype, device=like.device)
    return torch.diag_embed(blocks.repeat_interleave(channels // heads, dim=1))


def projected_channel_mixing(value: nn.Linear, output: nn.Linear, heads: int) -> Tensor:
    """Give ``W_h = W_V^h W_O^h``, ``(heads, C_in, C_out)``: of rank at most the head's width."""
    read = value.weight.unflatten(0, (heads, -1)).transpose(1, 2)
    return read @ output.weight.T.unflatten(0, (heads, -1))


def _count_weights(layer: TokenMixer) -> tuple[int, int]:
    """Count the weights that A is made of, and those of W, biases left out."""
    in_token = in_channel = 0
    for name, parameter in layer.named_parameters():
        if name.split(".")[-1] == "bias":
            continue
        if name.split(".")[0] in ("value", "output"):
            in_channel += parameter.numel()
        else:
            in_token += parameter.numel()
    return in_token, in_channel
