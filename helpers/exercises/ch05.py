"""The exercises of notebook 05: what folds, what does not, and two blocks under two names."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from helpers.exercises.answers import (
    CLOSE,
    differ,
    false_statements,
    noise,
    require_tensor,
    same_parameters,
)
from helpers.exercises.core import Exercise, Wrong, call, register


def _redraw(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give every parameter noise: zeros and ones of an initialisation hide mistakes."""
    with torch.no_grad():
        for n, parameter in enumerate(module.double().parameters()):
            parameter.copy_(noise(*parameter.shape, seed=seed + n))
    return module


def _in_float64(module: nn.Module) -> tuple[nn.Module, float]:
    """Give a module of the answer in float64, and how close it must come: float32 has rounded."""
    single = any(p.dtype == torch.float32 for p in module.parameters())
    return copy.deepcopy(module).double(), 1e-5 if single else CLOSE


# 05.1: a scaled branch and its skip in one kernel.


def _check_fold_skip(fold_skip: Any) -> str:
    for kernel_size, bias in ((3, True), (5, False), ((3, 5), True)):
        size = (kernel_size,) * 2 if isinstance(kernel_size, int) else kernel_size
        padding = tuple(k // 2 for k in size)
        conv = _redraw(nn.Conv2d(4, 4, size, padding=padding, groups=4, bias=bias))
        scale, image = noise(4, seed=5), noise(2, 4, 6, 7, seed=9)
        theirs = copy.deepcopy(conv), scale.clone()
        folded = call(fold_skip, *theirs)
        if not isinstance(folded, nn.Conv2d):
            raise Wrong(f"Expected one nn.Conv2d; yours is a {type(folded).__name__}.")
        if not (same_parameters(theirs[0], conv) and torch.equal(theirs[1], scale)):
            raise Wrong(
                "You changed what you were given. Work on a copy of the convolution: "
                "copy.deepcopy(conv)."
            )
        folded, close = _in_float64(folded)
        output = require_tensor(folded(image), image.shape, "Its output on an image")
        if differ(output, image + scale[:, None, None] * conv(image), close):
            raise Wrong(_why_the_fold_is_wrong(folded, conv, scale, close))
    return (
        "x + s * conv(x) is one depthwise convolution: each kernel times its s, then 1 more at "
        "the centre, and the bias times s."
    )


def _why_the_fold_is_wrong(folded: nn.Conv2d, conv: nn.Conv2d, scale: Tensor, close: float) -> str:
    if folded.weight.shape != conv.weight.shape:
        return (
            f"Its weight has another shape, {tuple(folded.weight.shape)}: keep the convolution's."
        )
    scaled = scale[:, None, None, None] * conv.weight
    centre = tuple(k // 2 for k in conv.kernel_size)
    identity = torch.zeros_like(conv.weight)
    identity[:, 0, centre[0], centre[1]] = 1
    slips = {
        "Your kernels are conv's own: neither the scale nor the skip is in them.": conv.weight,
        "The scale is right, the skip is missing: your convolution is s * conv(x) alone.": scaled,
        "The skip is right; the scale is missing: each kernel has to be multiplied by its "
        "channel's s.": conv.weight + identity,
        "You scaled the skip as well, s * (x + conv(x)). Scale the kernels, then add the 1.": (
            scaled + scale[:, None, None, None] * identity
        ),
        "You added 1 to every entry of the kernel. That adds the sum of the window, and the skip "
        "adds the pixel itself.": scaled + 1,
    }
    for sentence, slip in slips.items():
        if not differ(folded.weight, slip, close):
            return sentence
    added = (folded.weight - scaled).detach()
    away = (added * (1 - identity)).abs() > close
    if away.all(0).any() and int(away.sum()) == len(away):
        place = tuple(int(i) for i in away.nonzero()[0][2:])
        return (
            f"Your kernel of {tuple(conv.kernel_size)} has the 1 at {place}, and its centre is "
            f"{centre}: count from 0, in each direction by itself."
        )
    if away.any():
        return "Away from the centre each kernel should be conv's times s, one s for a channel."
    if differ(added, identity, close):
        return "The right place; but the skip adds x once, in every channel: add 1 to each kernel."
    return "The kernels are right, and the outputs differ: look at the bias and the padding."


register(
    Exercise(
        id="05.1",
        goal="Write fold_skip(conv, scale): given a depthwise nn.Conv2d that keeps the size (any "
        "odd kernel sides, padding k // 2, with or without a bias) and layer scale, one factor s "
        "for each channel, one nn.Conv2d that computes x + s * conv(x).",
        difficulty=2,
        minutes=10,
        hints=(
            "The page folded the skip at s = 1. What does s do to kernel, bias and skip?",
            "Copy the convolution. Under torch.no_grad(), multiply weight and bias, if there is "
            "one, by the channel's s. Then add 1 to the entry of each kernel that stands over the "
            "pixel itself. The weight is (C, 1, kernel height, kernel width).",
            "folded = copy.deepcopy(conv)\n"
            "rows, columns = conv.kernel_size\n"
            "with torch.no_grad():\n"
            "    folded.weight *= scale[:, None, None, None]\n"
            "    folded.weight[:, 0, ..., ...] += 1\n"
            "    ...                       # and the bias, if there is one",
        ),
        checker=_check_fold_skip,
    )
)


# 05.2: all of a norm that is linear, in the Linear.


def _check_fold_norm(fold_norm: Any) -> str:
    for bias in (True, False):
        norm = _redraw(nn.LayerNorm(5, eps=1e-6), seed=1)
        linear = _redraw(nn.Linear(5, 7, bias=bias), seed=3)
        given = copy.deepcopy(norm), copy.deepcopy(linear)
        folded = call(fold_norm, *given)
        if not isinstance(folded, nn.Linear):
            raise Wrong(f"Expected an nn.Linear; yours is a {type(folded).__name__}.")
        if not (same_parameters(given[0], norm) and same_parameters(given[1], linear)):
            raise Wrong("You changed what you were given: build a new Linear.")
        if folded.weight.shape != linear.weight.shape:
            raise Wrong(
                f"Its weight has shape {tuple(folded.weight.shape)}, the Linear's "
                f"{tuple(linear.weight.shape)}."
            )
        if folded.bias is None:
            raise Wrong(
                "It needs a bias, also where the Linear has none: the norm's bias ends up in it."
            )
        tokens = noise(6, 5, seed=8) + 2
        divided = tokens / (tokens.var(-1, keepdim=True, correction=0) + norm.eps).sqrt()
        folded, close = _in_float64(folded)
        if differ(folded(divided), linear(norm(tokens)), close):
            raise Wrong(_why_the_norm_is_wrong(folded, norm, linear, close))
    return (
        "Column j of W times g[j], then each row less its own mean: of a norm before a Linear "
        "only the division is left."
    )


def _why_the_norm_is_wrong(
    folded: nn.Linear, norm: nn.LayerNorm, linear: nn.Linear, close: float
) -> str:
    scaled, plain = linear.weight * norm.weight, linear.weight
    right = scaled - scaled.mean(1, keepdim=True)
    slips = {
        "The weight is the Linear's own: the norm's weight and the mean have to go into it.": plain,
        "The norm's weight is in it, the mean is not: what comes in is divided, and still has its "
        "mean. A token's mean is linear in it: each row of the weight can take it away.": scaled,
        "The mean is taken away, and the norm's weight is not in it.": plain
        - plain.mean(1, keepdim=True),
        "You took the mean out of the rows before you multiplied by g. The norm takes the mean "
        "away first, so for the weight it comes last: multiply the columns, then subtract.": (
            plain - plain.mean(1, keepdim=True)
        )
        * norm.weight,
        "You subtracted the mean of each column. The mean is over what comes in: along a row, "
        "dim 1.": scaled - scaled.mean(0, keepdim=True),
        "You subtracted one mean of the whole weight. Each row has its own: mean(1, "
        "keepdim=True).": scaled - scaled.mean(),
    }
    for sentence, slip in slips.items():
        if not differ(folded.weight, slip, close):
            return sentence
    if differ(folded.weight, right, close):
        return (
            "The weight is not right. The norm's weight multiplies what comes in, channel c by "
            "g[c]: in PyTorch's (C_out, C_in) that is a column, not a row. Then each row loses "
            "its mean."
        )
    shift = torch.zeros_like(folded.bias) if linear.bias is None else linear.bias
    if not differ(folded.bias, shift, close):
        return "The weight is right. The bias is the Linear's own: W times the norm's bias is new."
    if any(not differ(folded.bias, w @ norm.bias + shift, close) for w in (scaled, right)):
        return (
            "The weight is right. For the bias you multiplied the norm's bias by a folded "
            "weight; it should be multiplied by the Linear's own."
        )
    return "The weight is right, the bias is not: it should be W b + c, with the Linear's own W."


register(
    Exercise(
        id="05.2",
        goal="Write fold_norm(norm, linear): an nn.Linear that takes over all of the norm that is "
        "linear, the mean included. From tokens that are only divided, "
        "x / sqrt(var(x) + eps), it computes linear(norm(x)).",
        difficulty=3,
        minutes=14,
        hints=(
            "To take away the mean is itself a matrix, one with no weights to learn. It comes "
            "first, then g and b, then the Linear: three linear maps in a row.",
            "Start from the page's fold: column c of linear.weight times norm.weight[c]. Then "
            "subtract from each row of it the mean of that row: a constant token then gives 0. "
            "The bias is the page's: the old W applied to norm.bias, plus the old bias if there "
            "is one.",
            "folded = nn.Linear(linear.in_features, linear.out_features, dtype=linear.weight.dtype)"
            "\nwith torch.no_grad():\n"
            "    scaled = linear.weight * norm.weight\n"
            "    folded.weight.copy_(scaled - ...)\n"
            "    folded.bias.copy_(linear.weight @ ...)\n"
            "    ...                       # and the Linear's bias, if it has one",
        ),
        checker=_check_fold_norm,
    )
)


# 05.3: one block, two sets of names.

_OFFICIAL_TO_TIMM = {
    "gamma": "gamma",
    "dwconv": "conv_dw",
    "norm": "norm",
    "pwconv1": "mlp.fc1",
    "pwconv2": "mlp.fc2",
}


def _block_entries(stage: int, block: int) -> dict[str, str]:
    entries = {}
    for mine, theirs in _OFFICIAL_TO_TIMM.items():
        ends = [""] if mine == "gamma" else [".weight", ".bias"]
        for end in ends:
            official = f"stages.{stage}.{block}.{mine}{end}"
            entries[official] = f"stages.{stage}.blocks.{block}.{theirs}{end}"
    return entries


def _check_to_timm(to_timm: Any) -> str:
    for stage, block in ((0, 0), (2, 11), (3, 2)):
        entries = _block_entries(stage, block)
        state = {key: noise(2, seed=n) for n, key in enumerate(entries)}
        given = dict(state)
        renamed = call(to_timm, given)
        if not isinstance(renamed, dict):
            raise Wrong(f"Expected a dict; yours is a {type(renamed).__name__}.")
        if list(given) != list(state):
            raise Wrong("You changed the dict you were given: build a new one.")
        for official, timm in entries.items():
            if timm not in renamed:
                near = next(
                    (k for k, v in renamed.items() if v is state[official]),
                    "gone",
                )
                raise Wrong(f"{official!r} should become {timm!r}; with you it is {near!r}.")
            if not torch.equal(torch.as_tensor(renamed[timm]), state[official]):
                raise Wrong(f"{timm!r} holds another tensor than {official!r} did.")
        if len(renamed) > len(entries):
            extra = next(key for key in renamed if key not in entries.values())
            raise Wrong(f"{extra!r} is no key of timm's.")
    return (
        "Nine tensors, renamed. timm's mlp.fc1 and mlp.fc2 are the class that its ViT uses for "
        "the feed-forward: the claim of this book, in a key."
    )


register(
    Exercise(
        id="05.3",
        goal="Write to_timm(state): rename the nine tensors of one official ConvNeXt block to "
        "timm's names. stages.0.1.dwconv.weight becomes stages.0.blocks.1.conv_dw.weight; "
        "pwconv1 and pwconv2 become mlp.fc1 and mlp.fc2; norm and gamma keep their names.",
        difficulty=2,
        minutes=10,
        hints=(
            "Split a key at its dots. Which piece is always new, and which pieces change by name?",
            'A key is "stages", stage, block, part, and for all but gamma an ending. Put "blocks" '
            "before the block's number and look the part up in a dict of the three that change.",
            'names = {"dwconv": "conv_dw", "pwconv1": "mlp.fc1", ...}\n'
            "renamed = {}\n"
            "for key, tensor in state.items():\n"
            '    stages, i, j, part, *end = key.split(".")\n'
            '    renamed[".".join([stages, i, "blocks", j, ..., *end])] = tensor',
        ),
        checker=_check_to_timm,
    )
)


# 05.4: the mixer as an argument.


class _Shift(nn.Module):
    """A mixer that no reader has: each token gets the token after it."""

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens.roll(-1, 1)


class _Attend(nn.Module):
    def __init__(self, layer: nn.TransformerEncoderLayer) -> None:
        super().__init__()
        self.attention = layer.self_attn

    def forward(self, tokens: Tensor) -> Tensor:
        return self.attention(tokens, tokens, tokens, need_weights=False)[0]


def _check_block_with(block_with: Any) -> str:
    torch_layer = nn.TransformerEncoderLayer(
        8, 2, 32, 0.0, "gelu", 1e-6, batch_first=True, norm_first=True
    )
    layer = _redraw(torch_layer)
    tokens = noise(2, 5, 8, seed=7)
    # Each at another mixer: with no mixing, with a strange one, and with PyTorch's attention.
    for mixer in (nn.Identity(), _Shift(), _Attend(layer)):
        block = call(block_with, mixer, 8)
        if not isinstance(block, nn.Module):
            raise Wrong(f"Expected an nn.Module; yours is a {type(block).__name__}.")
        if not any(part is mixer for part in block.modules()):
            raise Wrong("The mixer is not in your module: keep it as self.mixer.")
        _fill(block, layer)
        output = require_tensor(block(tokens.clone()), tokens.shape, "Its output on tokens")
        if differ(output, _reference(layer, mixer, tokens)):
            raise Wrong(_why_the_block_differs(output, layer, mixer, tokens))
    return (
        "With attention in the slot it is PyTorch's own TransformerEncoderLayer. With anything "
        "else it is still the same block: MetaFormer's point."
    )


def _fill(block: nn.Module, layer: nn.TransformerEncoderLayer) -> None:
    """Put the layer's weights into the block's own norms and Linears, in the order they stand."""
    mixer = {id(part) for name, part in block.named_modules() for part in _inside(block, name)}
    own = [part for part in block.modules() if id(part) not in mixer]
    norms = [part for part in own if isinstance(part, nn.LayerNorm)]
    linears = [part for part in own if isinstance(part, nn.Linear)]
    if len(norms) != 2:
        raise Wrong(f"Expected two nn.LayerNorm, one before each half; yours has {len(norms)}.")
    if len(linears) != 2:
        raise Wrong(f"Expected two nn.Linear, outside the mixer; yours has {len(linears)}.")
    sources = (layer.norm1, layer.norm2, layer.linear1, layer.linear2)
    block.double()
    for mine, source in zip([*norms, *linears], sources, strict=True):
        if isinstance(mine, nn.LayerNorm) and mine.eps != source.eps:
            raise Wrong(f"A LayerNorm has eps {mine.eps}; pass eps=1e-6.")
        shapes = {name: p.shape for name, p in mine.named_parameters()}
        if shapes != {name: p.shape for name, p in source.named_parameters()}:
            wide = isinstance(mine, nn.Linear)
            raise Wrong(
                "The Linears should go from C to 4C and back to C, in this order, with biases."
                if wide
                else "The norms should be over the C channels, with weight and bias."
            )
        mine.load_state_dict(source.state_dict())


def _inside(block: nn.Module, name: str) -> list[nn.Module]:
    """List the parts of the mixer, where `name` names it."""
    part = block.get_submodule(name)
    is_mixer = isinstance(part, (_Shift, _Attend, nn.Identity))
    return list(part.modules()) if is_mixer else []


def _feed(layer: nn.TransformerEncoderLayer, x: Tensor) -> Tensor:
    return layer.linear2(nn.functional.gelu(layer.linear1(x)))


def _reference(layer: nn.TransformerEncoderLayer, mixer: nn.Module, tokens: Tensor) -> Tensor:
    x = tokens + mixer(layer.norm1(tokens))
    return x + _feed(layer, layer.norm2(x))


def _why_the_block_differs(
    output: Tensor, layer: nn.TransformerEncoderLayer, mixer: nn.Module, x: Tensor
) -> str:
    """Try the usual slips, and name the one that gives what the reader got."""
    one, two = layer.norm1, layer.norm2
    mixed = x + mixer(one(x))
    hidden = layer.linear1(two(mixed))
    slips: list[tuple[str, Callable[[], Tensor]]] = [
        (
            "There is no skip around the mixer: the first half is x + mixer(norm(x)).",
            lambda: mixer(one(x)) + _feed(layer, two(mixer(one(x)))),
        ),
        (
            "There is no skip around the feed-forward: the second half is x + mlp(norm(x)).",
            lambda: _feed(layer, two(mixed)),
        ),
        (
            "The second skip carries the block's input, as ConvNeXt's does. The Transformer's "
            "starts after the first sum.",
            lambda: x + _feed(layer, two(mixed)),
        ),
        (
            "This is ConvNeXt's wiring, one skip around both halves: the Transformer has one "
            "around each.",
            lambda: x + _feed(layer, two(mixer(one(x)))),
        ),
        (
            "The norms stand after the sums, as in the paper of 2017. Put them first: "
            "x + mixer(norm(x)).",
            lambda: two(one(x + mixer(x)) + _feed(layer, one(x + mixer(x)))),
        ),
        (
            "This is the tanh approximation of GELU, another function by a ten-thousandth; take "
            "nn.GELU() as it is.",
            lambda: mixed + layer.linear2(nn.functional.gelu(hidden, approximate="tanh")),
        ),
        ("The GELU between the two Linears is missing.", lambda: mixed + layer.linear2(hidden)),
        (
            "This is ReLU between the two Linears; take GELU.",
            lambda: mixed + layer.linear2(torch.relu(hidden)),
        ),
        (
            "The mixer gets the tokens without a norm: the first half is x + mixer(norm(x)).",
            lambda: x + mixer(x) + _feed(layer, two(x + mixer(x))),
        ),
        (
            "The feed-forward gets the tokens without a norm: the second half is x + mlp(norm(x)).",
            lambda: mixed + _feed(layer, mixed),
        ),
    ]
    for sentence, slip in slips:
        if not differ(output, slip()):
            return sentence
    return (
        "The outputs differ. Compare half by half: x + mixer(norm1(x)) first, then "
        "x + linear2(gelu(linear1(norm2(x)))). Create norms and Linears in this order too."
    )


register(
    Exercise(
        id="05.4",
        goal="Write block_with(mixer, channels): an nn.Module that is the Transformer block on "
        "tokens (B, N, C) with the given module in attention's place. Norms first (eps=1e-6), a "
        "skip around each half, a feed-forward of two nn.Linear, C to 4C to C, with GELU between.",
        difficulty=3,
        minutes=15,
        hints=(
            "Read the two blocks again: which lines of the Transformer block know that the mixer "
            "is attention?",
            "A module with norm1, mixer, norm2, linear1, linear2, created in this order. forward "
            "has two lines, each with a skip: the mixer's half, then the feed-forward's.",
            "class Block(nn.Module):\n"
            "    def __init__(self, mixer, channels):\n"
            "        super().__init__()\n"
            "        self.norm1, self.mixer = nn.LayerNorm(channels, eps=1e-6), mixer\n"
            "        self.norm2 = ...\n"
            "        self.linear1 = nn.Linear(channels, 4 * channels)\n"
            "        self.linear2 = ...\n"
            "\n"
            "    def forward(self, x):\n"
            "        x = x + self.mixer(self.norm1(x))\n"
            "        return ...",
        ),
        checker=_check_block_with,
    )
)


# 05.5: find the errors in a summary of the two blocks.

#: Which of the statements a to e are false, and what the cell that settles it would show.
FALSE_STATEMENTS = {
    "b": "Statement b is false: GroupNorm with one group takes its mean over channels, height and "
    "width together, LayerNorm over the channels of each pixel.",
    "d": "Statement d is false: the skip around the depthwise convolution folds into its kernel, "
    "and the outer skip still carries another thing, the block's input.",
}
TRUE_STATEMENTS = {
    "a": "Statement a is true: both layouts of the official LayerNorm give the same numbers, as "
    "long as the image is permuted.",
    "c": "Statement c is true: W (g * x + b) + c is a Linear again.",
    "e": "Statement e is true: ConvNeXt has one norm and one skip in a block, the Transformer two "
    "of each.",
}


def _check_find_the_errors(false_ones: Any) -> str:
    more = (
        "What you named is false, but there is more. Test each statement in a cell, as the "
        "page did."
    )
    false_statements(false_ones, FALSE_STATEMENTS, TRUE_STATEMENTS, more)
    return "b and d. The norms correspond, but not that one; the inner skip folds, the outer not."


register(
    Exercise(
        id="05.5",
        goal="Find the errors: name the false statements among a to e, as a set of letters.",
        difficulty=2,
        minutes=8,
        hints=(
            "For each norm, ask which numbers share one mean. For each skip, what it carries.",
            "For b, compare nn.GroupNorm(1, C) with a LayerNorm over the channels, on an image of "
            "more than one pixel. For d, run both wirings with one set of weights.",
            "image = torch.randn(1, 8, 5, 5)\n"
            "over_channels = nn.LayerNorm(8)(image.movedim(1, -1)).movedim(-1, 1)\n"
            "print((nn.GroupNorm(1, 8)(image) - over_channels).abs().max())",
        ),
        checker=_check_find_the_errors,
    )
)
