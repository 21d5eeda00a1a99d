"""C8: how important the feed-forward is: its share, its bend, and what keeps tokens apart."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.blocks import ConvNeXtBlock, FeedForward, TransformerBlock
from helpers.claims.core import Break, Claim, Part, Verdict
from helpers.claims.evidence import Count, Counts, Evidence, Measured
from helpers.claims.examples import noise, parameters_of, redrawn
from helpers.collapse import Wiring, after_each_layer
from helpers.equivalence import Equivalence, assert_equivalent

WIDTHS = (96, 192, 384, 768, 1024)

# Its share of the parameters.


def prove_share(heads: int = 3, head_width: int = 32, kernel_size: int = 7) -> dict[str, Evidence]:
    """Count the feed-forward and both blocks; then its share in blocks of the usual widths."""
    c = heads * head_width
    blocks = _on_meta(c, heads, kernel_size)
    formulas = {
        "feed-forward, without its norm": 8 * c**2 + 5 * c,
        "Transformer block": 12 * c**2 + 13 * c,
        "ConvNeXt block": 8 * c**2 + (kernel_size**2 + 9) * c,
    }
    shares = {
        name: [_feed_forward_share(block) for block in usual]
        for name, usual in zip(
            ("Transformer", "ConvNeXt"),
            zip(*(_on_meta(width, 1)[1:] for width in WIDTHS), strict=True),
            strict=True,
        )
    }
    low, high = WIDTHS[0], WIDTHS[-1]
    where = f"for C = {low} to {high}"
    return {
        f"parameters, with biases, at C = {c}": Counts(
            tuple(
                Count(name, formula, parameters_of(block))
                for (name, formula), block in zip(formulas.items(), blocks, strict=True)
            )
        ),
        f"share of the Transformer block {where}": Measured(
            "smallest and largest", _spread(shares["Transformer"], 0.66, 0.67), 0.66, 0.67
        ),
        f"share of the ConvNeXt block {where}": Measured(
            "smallest and largest", _spread(shares["ConvNeXt"], 0.93, 0.995), 0.93, 0.995
        ),
    }


def _spread(values: list[float], low: float, high: float) -> float:
    """Give the value that is farthest from the middle of the range: if it is in, all are."""
    return max(values, key=lambda value: abs(value - (low + high) / 2))


def _on_meta(channels: int, heads: int, kernel_size: int = 7) -> tuple[nn.Module, ...]:
    with torch.device("meta"):
        block = TransformerBlock(channels, heads)
        feed_forward = nn.ModuleList([block.linear1, block.linear2])
        return feed_forward, block, ConvNeXtBlock(channels, kernel_size)


def _feed_forward_share(block: nn.Module) -> float:
    names = ("linear", "pwconv")
    own = sum(p.numel() for name, p in block.named_parameters() if name.startswith(names))
    return own / parameters_of(block)


def _attention_beside_feed_forward() -> tuple[Tensor, Tensor]:
    counts = []
    for width in WIDTHS:
        feed_forward, block, _ = _on_meta(width, 1)
        counts.append([parameters_of(block.self_attn), parameters_of(feed_forward)])
    attention, feed_forward = torch.tensor(counts, dtype=torch.float64).T
    return attention, feed_forward


# Widen, bend, narrow.


def prove_no_bend_no_gain(
    batch: int = 2, tokens: int = 5, channels: int = 6, expansion: int = 4, seed: int = 0
) -> Equivalence:
    """Compare two Linear layers, wide in the middle, with the one Linear of their product."""
    wide = nn.Sequential(
        nn.Linear(channels, expansion * channels), nn.Linear(expansion * channels, channels)
    )
    wide = redrawn(wide, seed)
    one = nn.Linear(channels, channels).double()
    with torch.no_grad():
        one.weight.copy_(wide[1].weight @ wide[0].weight)
        one.bias.copy_(wide[1](wide[0].bias))
    return assert_equivalent(
        wide, one, noise(seed + 1, batch, tokens, channels), parameters={"1.bias": "bias"}
    )


def prove_no_bend_no_gain_and_width_does(
    batch: int = 2, tokens: int = 5, channels: int = 6, expansion: int = 4, seed: int = 0
) -> dict[str, Evidence]:
    """Fold two Linears into one; then, with GELU, measure what narrow and wide middles miss."""
    return {
        "two Linears, wide in the middle, and one": prove_no_bend_no_gain(
            batch, tokens, channels, expansion, seed
        ),
        **_what_widths_miss(),
    }


@cache
def _what_widths_miss() -> dict[str, Evidence]:
    ranges = {8: (0.7, 1.1), 32: (0.35, 0.65), 128: (0, 0.2)}
    return {
        f"a product of two of 8 channels, {units} hidden units": Measured(
            "missed on fresh tokens, as a share of its variance", _missed(units), *ranges[units]
        )
        for units in ranges
    }


def _missed(units: int, channels: int = 8) -> float:
    """Fit values to random keys, and measure on fresh tokens what they miss of ``x0 * x1``."""
    seen, fresh = noise(1, 4000, channels), noise(2, 4000, channels)
    keys, bias = noise(3, units, channels), noise(4, units)

    def units_of(x: Tensor) -> Tensor:
        return torch.cat([F.gelu(x @ keys.T + bias), torch.ones_like(x[:, :1])], 1)

    values = torch.linalg.lstsq(units_of(seen), seen[:, 0] * seen[:, 1]).solution
    wanted = fresh[:, 0] * fresh[:, 1]
    return float((wanted - units_of(fresh) @ values).var() / wanted.var())


def _with_gelu_beside_the_best_linear() -> tuple[Tensor, Tensor]:
    feed_forward, tokens = redrawn(FeedForward(6), 0), noise(1, 400, 6)
    with torch.no_grad():
        normed = feed_forward.norm(tokens)
        out = feed_forward(tokens)
        known = torch.cat([normed, torch.ones(400, 1, dtype=normed.dtype)], 1)
        return out, known @ torch.linalg.lstsq(known, out).solution


# What keeps tokens apart.


def prove_equal_tokens_stay_equal(
    batch: int = 2, tokens: int = 5, heads: int = 2, head_width: int = 3, seed: int = 0
) -> dict[str, Evidence]:
    """Show that no block tells equal tokens apart, and measure how fast they become equal."""
    channels = heads * head_width
    block = redrawn(TransformerBlock(channels, heads), seed)
    return {
        "a block on equal tokens, and on one of them, repeated": assert_equivalent(
            lambda x: _as(block, x)(x.expand(-1, tokens, -1)),
            lambda x: _as(block, x)(x).expand(-1, tokens, -1),
            noise(seed + 1, batch, 1, channels),
        ),
        "attention alone, 4 layers": Measured(
            "relative distance of the tokens from their mean",
            float(_distances(False, False)[-1]),
            0,
            1e-6,
        ),
        **_with_a_skip(),
    }


@cache
def _with_a_skip(starts: int = 6) -> dict[str, Evidence]:
    """Measure what a skip keeps, what grows beside it, and what a feed-forward adds to it."""
    wirings = [Wiring(True, False), Wiring(True, True)]
    runs = [after_each_layer(wirings, seed=seed) for seed in range(starts)]
    apart, common, relative = (
        torch.stack([getattr(run, part) for run in runs])
        for part in ("apart", "common", "relative")
    )
    kept, grown = (part[:, 0, -1] / part[:, 0, 0] for part in (apart, common))
    added = relative[:, 1] - relative[:, 0]
    what = f"of {starts} starts"
    return {
        "a skip, 96 layers: differences between tokens, after / before": Measured(
            f"length, the smallest {what}", float(kept.min()), 0.99, 1.2
        ),
        "a skip, 96 layers: part common to all tokens, after / before": Measured(
            f"length, the smallest {what}", float(grown.min()), 10, 30
        ),
        "a feed-forward beside the skip, layer 4: relative distance, with less without": Measured(
            f"largest {what}", float(added[:, 4].max()), -0.1, 0
        ),
        "the same at layer 96": Measured(f"smallest {what}", float(added[:, 96].min()), 0, 0.5),
    }


def _as(block: nn.Module, x: Tensor) -> nn.Module:
    return block.to(x.dtype)


def _distances(skip: bool, feed_forward: bool, depth: int = 4, seed: int = 0) -> Tensor:
    """Give ``‖X - mean‖ / ‖X‖`` after each of some untrained layers, ``(depth,)``."""
    return after_each_layer([Wiring(skip, feed_forward)], depth, seed).relative[0, 1:]


CLAIMS = (
    Claim(
        id="C8",
        said="The feed-forward, in attention's shadow, is a very important part: by widening and "
        "narrowing the dimension it learns complex transformations.",
        notebook="06_what_the_feed_forward_does",
        parts=(
            Part(
                Verdict.RIGHT,
                "Counted in parameters it is the larger part: two thirds of a Transformer block. "
                "The two pointwise layers are 93.6 to 99.4 % of a ConvNeXt block. A count does not "
                "say what they are for.",
                prove_share,
                (
                    Break(
                        "Attention has as many parameters as the feed-forward.",
                        _attention_beside_feed_forward,
                        0.3,
                    ),
                ),
                about="Its share",
            ),
            Part(
                Verdict.RIGHT,
                "The width counts only through the bend in the middle. Two Linear layers without "
                "one are one Linear, however wide. With it, wider fits more: random keys with the "
                "best values miss most of a product of two channels at C units, about half at 4C.",
                prove_no_bend_no_gain_and_width_does,
                (
                    Break(
                        "With GELU between them, too, one Linear would do.",
                        _with_gelu_beside_the_best_linear,
                        0.2,
                    ),
                ),
                about="Widening and narrowing",
            ),
            Part(
                Verdict.RIGHT,
                "Important for what it computes at each token, as the essay says. It is often "
                "said to keep the tokens apart as well, which the essay does not say. "
                "Untrained attention alone, with PyTorch's start, makes all tokens equal within "
                "four layers, and a block without positions never tells equal tokens apart again. "
                "A feed-forward does not prevent that; a skip does. With it the differences keep "
                "their length, and what falls is their share of X: a part common to all tokens "
                "grows. With LayerNorm, a feed-forward beside the skip lowers that share a little "
                "at first, and after 96 layers has kept it higher.",
                prove_equal_tokens_stay_equal,
                (
                    Break(
                        "In place of the skip, a feed-forward keeps the tokens as far apart.",
                        lambda: (_distances(False, True), _distances(True, False)),
                        0.3,
                    ),
                ),
                about="Important for what",
            ),
        ),
    ),
)
