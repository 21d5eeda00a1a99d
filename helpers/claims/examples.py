"""What the proofs and breaks are tried on: noise, and layers with weights redrawn at random."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from helpers.mixing import as_mixing
from helpers.tokens import from_tokens, to_tokens


def noise(seed: int, *shape: int) -> Tensor:
    """Draw float64 noise: an example must not be special."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def redrawn(module: nn.Module, seed: int) -> nn.Module:
    """Redraw every parameter in float64: zeros, ones and 1e-6 of an initialisation hide errors."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.double().parameters():
            values = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(0.5 * values)
    return module


def permutation(seed: int, count: int) -> Tensor:
    """Draw an order of `count` things."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


class Lifted(nn.Module):
    """A layer replaced by its own lift: computes ``sum_h A_h X W_h + b`` in place of the layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, image: Tensor) -> Tensor:
        """Lift the layer at this image, and apply the lift to it."""
        mixing = as_mixing(self.layer, image.detach())
        return from_tokens(mixing(to_tokens(image)), mixing.grid_out)


class Shuffled(nn.Module):
    """Put the pixels of ``(B, C, H, W)`` in another order, the same for every image."""

    def __init__(self, order: Tensor) -> None:
        super().__init__()
        self.order = order

    def forward(self, image: Tensor) -> Tensor:
        """Give the image with pixel ``order[i]`` at place i."""
        return image.flatten(2)[..., self.order].view(image.shape)


class Plus(nn.Module):
    """A layer with a skip around it."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Give ``x + layer(x)``."""
        return x + self.layer(x)


def parameters_of(module: nn.Module) -> int:
    """Count the parameters of a live module, biases included."""
    return sum(parameter.numel() for parameter in module.parameters())


def reached(layer: nn.Module, channels: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Give how strongly each pixel acts on the middle one's output: gradients, ``(H, W)``."""
    image = noise(seed, 1, channels, height, width).requires_grad_()
    out = layer(image)[0, :, height // 2, width // 2]
    weighting = noise(seed + 1, len(out))
    (gradient,) = torch.autograd.grad((out * weighting).sum(), image)
    return gradient[0].abs().sum(0)
