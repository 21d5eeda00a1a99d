"""C4: convolution built of Linear layers, attention of convolutions, and convolution of heads."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.claims.core import Break, Claim, Part, Verdict
from helpers.claims.examples import noise, redrawn
from helpers.equivalence import Equivalence, assert_equivalent
from helpers.mixers import (
    DynamicDepthwiseConv,
    MultiHeadAttention,
    OneHotHeads,
    RelativePositionAttention,
    SlidingAttention,
    dynamic_conv_from_attention,
)
from helpers.mixing import as_mixing
from helpers.tokens import from_tokens, to_tokens

# Convolution of Linear layers.


class Im2Col(nn.Module):
    """A convolution as one Linear over the patches: unfold, multiply, lay back."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self.kernel_size, self.padding = conv.kernel_size, conv.padding

    def forward(self, image: Tensor) -> Tensor:
        """Apply to ``(B, C, H, W)``."""
        patches = F.unfold(image, self.kernel_size, padding=self.padding).transpose(1, 2)
        tokens = F.linear(patches, self.weight.flatten(1), self.bias)
        return from_tokens(tokens, tuple(image.shape[2:]))


class ShiftedLinears(nn.Module):
    """A convolution as a sum of k² Linear layers, each on the image shifted by one offset."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias, self.reach = conv.weight, conv.bias, conv.padding[0]

    def forward(self, image: Tensor) -> Tensor:
        """Apply to ``(B, C, H, W)``."""
        height, width = image.shape[2:]
        padded = F.pad(image, 4 * [self.reach])
        out = self.bias
        for row in range(self.weight.shape[2]):
            for column in range(self.weight.shape[3]):
                shifted = padded[..., row : row + height, column : column + width]
                out = out + shifted.movedim(1, -1) @ self.weight[:, :, row, column].T
        return out.movedim(-1, 1)


class OneMatrix(nn.Module):
    """A convolution as one Linear on the whole image, flattened."""

    def __init__(self, conv: nn.Conv2d, image: Tensor) -> None:
        super().__init__()
        mixing = as_mixing(conv, image)
        matrix = mixing.matrix()
        self.linear = nn.Linear(matrix.shape[1], matrix.shape[0]).to(matrix)
        with torch.no_grad():
            self.linear.weight.copy_(matrix)
            self.linear.bias.copy_(mixing.bias.expand(mixing.n_out, -1).flatten())

    def forward(self, image: Tensor) -> Tensor:
        """Apply to ``(B, C, H, W)``."""
        out = self.linear(to_tokens(image).flatten(1))
        return from_tokens(
            out.unflatten(1, (-1, out.shape[1] // image[0, 0].numel())), tuple(image.shape[2:])
        )


def prove_convolution_is_linear(
    batch: int = 2,
    channels: int = 3,
    channels_out: int = 4,
    height: int = 5,
    width: int = 6,
    kernel_size: int = 3,
    seed: int = 0,
) -> dict[str, Equivalence]:
    """Compare a convolution with a Linear on patches, k² shifted Linears, and one matrix."""
    image = noise(seed, batch, channels, height, width)
    conv = nn.Conv2d(channels, channels_out, kernel_size, padding=kernel_size // 2)
    conv = redrawn(conv, seed + 1)
    same = {"weight": "weight", "bias": "bias"}
    return {
        "one Linear on the patches": assert_equivalent(conv, Im2Col(conv), image, parameters=same),
        "k² Linear layers on shifted images": assert_equivalent(
            conv, ShiftedLinears(conv), image, parameters=same
        ),
        "one matrix on the flattened image, after rewriting": assert_equivalent(
            conv, OneMatrix(conv, image), image
        ),
    }


def _along_the_diagonals() -> tuple[Tensor, Tensor]:
    conv, image = redrawn(nn.Conv2d(1, 1, 3, padding=1, bias=False), 0), noise(1, 1, 1, 5, 6)
    matrix = as_mixing(conv, image).matrix()
    return matrix[1:, 1:], matrix[:-1, :-1]


def _flipped_kernel() -> tuple[Tensor, Tensor]:
    image, kernel = noise(0, 1, 1, 7, 8), noise(1, 1, 1, 3, 3)
    return F.conv2d(image, kernel, padding=1), F.conv2d(image, kernel.flip(2, 3), padding=1)


# Attention of convolutions.


class MaskedAttention(nn.Module):
    """PyTorch's own attention on an image; with a kernel size, only between close pixels."""

    def __init__(self, attention: nn.MultiheadAttention, kernel_size: int | None = None) -> None:
        super().__init__()
        self.attention, self.kernel_size = attention, kernel_size

    def forward(self, image: Tensor) -> Tensor:
        """Mix ``(B, C, H, W)``."""
        tokens, mask = to_tokens(image), None
        if self.kernel_size is not None:
            rows, columns = (torch.arange(n) for n in image.shape[2:])
            at = torch.cartesian_prod(rows, columns)
            mask = ((at[:, None] - at[None]).abs() > self.kernel_size // 2).any(-1)
        mixed, _ = self.attention(tokens, tokens, tokens, attn_mask=mask, need_weights=False)
        return from_tokens(mixed, tuple(image.shape[2:]))


class SixConvolutions(nn.Module):
    """PyTorch's attention by `conv1d` alone: four with its weights as filters, two with the data.

    The two convolutions in the middle have a group for each image and head. Their filters are the
    keys, which gives the scores, and then the values, which gives the weighted sum.
    """

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, image: Tensor) -> Tensor:
        """Mix ``(B, C, H, W)``."""
        own, groups = self.attention, len(image) * self.attention.num_heads
        width, pixels = own.head_dim, image.shape[2] * image.shape[3]
        weights = own.in_proj_weight.unsqueeze(-1).chunk(3)
        q, k, v = (
            F.conv1d(image.flatten(2), weight, bias)
            for weight, bias in zip(weights, own.in_proj_bias.chunk(3), strict=True)
        )
        # (1, groups d, N) as data, and (groups N, d, 1) as filters.
        keys = k.reshape(groups, width, pixels).mT.reshape(-1, width, 1)
        scores = F.conv1d(q.reshape(1, -1, pixels) / width**0.5, keys, groups=groups)
        a = scores.view(groups, pixels, pixels).softmax(1)  # (groups, key, query)
        values = v.reshape(-1, pixels, 1)
        mixed = F.conv1d(a.view(1, -1, pixels), values, groups=groups)
        out = F.conv1d(
            mixed.view(len(image), -1, pixels), own.out_proj.weight[..., None], own.out_proj.bias
        )
        return out.view(image.shape)


def prove_attention_is_dynamic_convolution(
    batch: int = 2,
    heads: int = 2,
    head_width: int = 3,
    height: int = 5,
    width: int = 4,
    kernel_size: int = 3,
    seed: int = 0,
) -> dict[str, Equivalence]:
    """Compare PyTorch's attention, masked and whole, with 1x1, dynamic depthwise conv, 1x1."""
    channels = heads * head_width
    image = noise(seed, batch, channels, height, width)
    layer = redrawn(nn.MultiheadAttention(channels, heads, batch_first=True), seed + 1)
    whole = MultiHeadAttention.from_torch(layer)
    local = SlidingAttention(channels, heads, kernel_size).to(image)
    local.load_state_dict(whole.state_dict())
    names = {"attention.out_proj.weight": "output.weight"}
    return {
        f"attention to {kernel_size}x{kernel_size} pixels and a dynamic depthwise convolution": (
            assert_equivalent(
                MaskedAttention(layer, kernel_size),
                dynamic_conv_from_attention(local),
                image,
                parameters=names,
            )
        ),
        "attention to all pixels and one that reaches the whole image": assert_equivalent(
            MaskedAttention(layer),
            dynamic_conv_from_attention(whole, (height, width)),
            image,
            parameters=names,
        ),
        "PyTorch's attention, and conv1d six times with a softmax between": assert_equivalent(
            MaskedAttention(layer),
            SixConvolutions(layer),
            image,
            parameters={"attention.in_proj_weight": "attention.in_proj_weight"},
        ),
    }


def _superposition() -> tuple[Tensor, Tensor]:
    attention = redrawn(MultiHeadAttention(6, 2, bias=False), 0)
    one, other = noise(1, 1, 6, 4, 5), noise(2, 1, 6, 4, 5)
    with torch.no_grad():
        return attention(one + other), attention(one) + attention(other)


def _kernels_of_another_image() -> tuple[Tensor, Tensor]:
    conv = redrawn(DynamicDepthwiseConv(6, 2, 3, softmax=True), 0)
    image, other = noise(1, 1, 6, 5, 6), noise(2, 1, 6, 5, 6)
    with torch.no_grad():
        return conv(image), conv(image, chooser=other)


# Convolution of attention heads.


def prove_convolution_is_heads(
    batch: int = 2,
    channels: int = 4,
    channels_out: int = 6,
    height: int = 5,
    width: int = 6,
    kernel_size: int = 3,
    seed: int = 0,
) -> dict[str, Equivalence]:
    """Compare a convolution with k² heads: one-hot ones, and a softmax of sharpness 100."""
    image = noise(seed, batch, channels, height, width)
    conv = nn.Conv2d(channels, channels_out, kernel_size, padding=kernel_size // 2)
    conv = redrawn(conv, seed + 1)
    return {
        "k² one-hot heads": assert_equivalent(conv, OneHotHeads.from_conv(conv), image),
        "k² softmax heads of sharpness 100, zeros around the image": assert_equivalent(
            conv, RelativePositionAttention.from_conv(conv, alpha=100), image
        ),
    }


def _nine_heads(**settings: object) -> tuple[Tensor, Tensor]:
    image, conv = noise(0, 1, 9, 6, 7), redrawn(nn.Conv2d(9, 9, 3, padding=1), 1)
    sharpness = settings.pop("alpha", 100)
    with torch.no_grad():
        heads = RelativePositionAttention.from_conv(conv, alpha=sharpness, **settings)
        return conv(image), heads(image)


CLAIMS = (
    Claim(
        id="C4",
        said="A convolution can be implemented with linear layers, and attention can be "
        "implemented with convolutions.",
        notebook="02_convolution_is_a_matrix",
        also=("03_groups_and_heads", "04_who_chooses_the_weights"),
        parts=(
            Part(
                Verdict.EXACT,
                "A convolution is one Linear on the patches of the image, or k² Linear layers on "
                "shifted images, with its weights as they are. For one size of image it is one "
                "large matrix too, but that is exact after rewriting: each weight is copied into "
                "many cells, and all else is zero.",
                prove_convolution_is_linear,
                (
                    Break(
                        "The matrix of an image convolution is Toeplitz: constant along every "
                        "diagonal.",
                        _along_the_diagonals,
                        0.3,
                    ),
                    Break(
                        "conv2d is the convolution of mathematics, which flips the kernel.",
                        _flipped_kernel,
                        0.3,
                    ),
                ),
                about="Convolution of Linear layers",
            ),
            Part(
                Verdict.AFTER_REWRITING,
                "Attention is a depthwise convolution whose filters are computed from the input, "
                "one for each pixel and head, between two 1x1 convolutions. With the keys as the "
                "filters of one convolution, and the values as those of the next, PyTorch's conv1d "
                "and a softmax suffice. No convolution with fixed filters is attention that "
                "compares queries with keys, for a convolution is linear in its input.",
                prove_attention_is_dynamic_convolution,
                (
                    Break(
                        "Attention of a sum is the sum of the attentions, as in a convolution.",
                        _superposition,
                        0.3,
                    ),
                    Break(
                        "The filters made for one image serve another.",
                        _kernels_of_another_image,
                        0.3,
                    ),
                ),
                about="Attention of convolutions",
            ),
            Part(
                Verdict.AFTER_REWRITING,
                "The way back exists too. A k x k convolution is k² heads, each looking at one "
                "offset through relative positions, with zero tokens around the image for the "
                "padding. A head must be as wide as the rank of that offset's weights, in general "
                "min(C_in, C_out), and a softmax is one-hot only in the limit of its sharpness.",
                prove_convolution_is_heads,
                (
                    Break(
                        "Heads of the usual width C/H are wide enough.",
                        lambda: _nine_heads(head_width=1, truncate=True),
                        0.3,
                    ),
                    Break(
                        "At the border a softmax gives the zeros that padding needs.",
                        lambda: _nine_heads(border="inside"),
                        0.3,
                    ),
                    Break(
                        "A sharpness of 1 is sharp enough.",
                        lambda: _nine_heads(alpha=1),
                        0.3,
                    ),
                ),
                about="Convolution of attention heads",
            ),
        ),
    ),
)
