"""The exercises of notebook 03: groups, heads, and heads that make a convolution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from helpers.exercises.answers import false_statements, noise, require_tensor, same
from helpers.exercises.core import Exercise, NotAttempted, Wrong, call, register


def _named_slip(output: Tensor, slips: list[tuple[str, Tensor]], otherwise: str) -> str:
    """Name the usual slip that gives what the reader got."""
    return next((says for says, slip in slips if same(output, slip)), otherwise)


class _Watch(TorchFunctionMode):
    """Notes what would make an exercise pointless."""

    def __init__(self) -> None:
        super().__init__()
        self.whole_attention = False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func is F.multi_head_attention_forward:
            self.whole_attention = True
        return func(*args, **(kwargs or {}))


# 03.1: groups as blocks of zeros.


def _check_dense_weight(dense_weight: Any) -> str:
    for c_in, c_out, groups in ((6, 4, 2), (4, 8, 4), (3, 5, 1), (6, 6, 6)):
        weight = noise(c_out, c_in // groups, 3, 3, seed=2)
        result = call(dense_weight, weight.clone(), groups)
        if isinstance(result, Tensor) and result.shape == weight.shape != (c_out, c_in, 3, 3):
            raise Wrong(
                f"Your weight still has {c_in // groups} input channels. With groups=1 an output "
                f"channel has a weight for every input channel, here {c_in}."
            )
        require_tensor(result, (c_out, c_in, 3, 3), f"The weight for groups={groups}")
        if not same(result, _blocks(weight, groups)):
            raise Wrong(_why_the_groups_are_wrong(result, weight, groups))
    return "Groups are blocks of zeros: what is between two groups has no wire."


def _blocks(weight: Tensor, groups: int, to: str = "own") -> Tensor:
    """Write the weights of each group where they belong, or where a slip puts them."""
    rows, columns = len(weight) // groups, weight.shape[1]
    dense = weight.new_zeros(len(weight), groups * columns, *weight.shape[2:])
    for g in range(groups):
        out, into = slice(g * rows, (g + 1) * rows), slice(g * columns, (g + 1) * columns)
        if to == "first":
            into = slice(0, columns)
        if to == "backwards":
            into = slice((groups - 1 - g) * columns, (groups - g) * columns)
        if to == "turns in":
            into = slice(g, None, groups)
        if to == "turns out":
            out = slice(g, None, groups)
        dense[out, into] = weight[out]
    return dense


def _why_the_groups_are_wrong(result: Tensor, weight: Tensor, groups: int) -> str:
    slips = [
        (
            "Every output channel reads all input channels in yours. Between two groups there is "
            "no wire: the weight is 0.",
            weight.repeat(1, groups, 1, 1),
        ),
        (
            "All your groups use the filters of the first. Groups share nothing: each output "
            "channel has its own.",
            _blocks(weight[: len(weight) // groups].repeat(groups, 1, 1, 1), groups),
        ),
        ("All your groups read the channels of the first.", _blocks(weight, groups, "first")),
        (
            "Your groups read channels in turn (0, 2, 4, ...). PyTorch's are contiguous blocks.",
            _blocks(weight, groups, "turns in"),
        ),
        (
            "Your groups take the filters in turn. Those of the first group come first.",
            _blocks(weight, groups, "turns out"),
        ),
        (
            "The blocks are right and stand in the wrong order: group 0 reads the first channels.",
            _blocks(weight, groups, "backwards"),
        ),
    ]
    return _named_slip(
        result,
        slips,
        "The shape is right, but the numbers differ. Which input channels and which rows of the "
        "weight belong to group 0?",
    )


register(
    Exercise(
        id="03.1",
        goal="Write dense_weight(weight, groups): from the weight (C_out, C_in / groups, k, k) of "
        "a grouped convolution, the weight (C_out, C_in, k, k) with which a convolution with "
        "groups=1 computes the same.",
        difficulty=1,
        minutes=8,
        hints=(
            "Look at the two matrices of the page: where is the left one zero? Which input "
            "channels does the first output channel read?",
            "Begin with zeros of the full shape. Group g has C_out / groups rows and C_in / groups "
            "columns of it: write its filters there, and leave the rest at zero.",
            "rows, columns = len(weight) // groups, weight.shape[1]   # of one group\n"
            "dense = weight.new_zeros(len(weight), ..., *weight.shape[2:])\n"
            "for g in range(groups):\n"
            "    own = slice(g * rows, (g + 1) * rows)\n"
            "    dense[own, ...] = weight[own]\n"
            "return dense",
        ),
        checker=_check_dense_weight,
    )
)


# 03.2: attention, projected before it is split.


def _check_multi_head(multi_head: Any) -> str:
    for channels, heads in ((12, 3), (8, 1), (6, 6)):
        layer = nn.MultiheadAttention(channels, heads, bias=False, batch_first=True).double()
        x = noise(2, 5, channels, seed=3)
        weights = [noise(channels, channels, seed=seed) for seed in (4, 5, 6, 7)]
        with torch.no_grad():
            layer.in_proj_weight.copy_(torch.cat(weights[:3]))
            layer.out_proj.weight.copy_(weights[3])
            expected, _ = layer(x, x, x, need_weights=False)
            with _Watch() as watch:
                output = call(multi_head, x.clone(), *(w.clone() for w in weights), heads)
        if watch.whole_attention:
            raise Wrong("PyTorch's whole layer runs in it: write out project, split and softmax.")
        require_tensor(output, tuple(x.shape), f"The output for heads={heads}")
        if not same(output, expected):
            raise Wrong(_why_the_heads_are_wrong(output, x, weights, heads))
    return "Project, then split: the values of each head are made of all channels."


def _why_the_heads_are_wrong(output: Tensor, x: Tensor, weights: list[Tensor], heads: int) -> str:
    d = x.shape[-1] // heads

    def blocks(projected: Tensor) -> Tensor:
        return projected.unflatten(-1, (heads, d)).transpose(1, 2)

    def in_turn(projected: Tensor) -> Tensor:
        return projected.unflatten(-1, (d, heads)).movedim(-1, 1)

    def merge(mixed: Tensor) -> Tensor:
        return mixed.transpose(1, 2).flatten(2)

    def attend(q: Tensor, k: Tensor, v: Tensor, scale: float = d**-0.5, over: int = -1) -> Tensor:
        return (q @ k.mT * scale).softmax(over) @ v

    q, k, v = (blocks(x @ w.T) for w in weights[:3])
    w_o = weights[3]
    right = attend(q, k, v)
    pieces = [
        torch.stack(
            [x[..., h * d : (h + 1) * d] @ w[h * d : (h + 1) * d, h * d : (h + 1) * d].T
             for h in range(heads)], 1)
        for w in weights[:3]
    ]  # fmt: skip
    turned = attend(*(in_turn(x @ w.T) for w in weights[:3]))
    viewed = attend(*((x @ w.T).reshape(len(x), heads, -1, d) for w in weights[:3]))
    viewed_says = (
        "You cut the projected tokens with view(B, heads, N, d): a head then gets whole tokens, "
        "not channels. Split the last axis, (B, N, heads, d), and move the heads forward with "
        "transpose(1, 2)."
    )
    slips = [
        (
            "You split x first and projected each piece: that is a grouped projection, and each "
            "head sees only its own channels. Project all of x, then split.",
            merge(attend(*pieces)) @ w_o.T,
        ),
        ("W_O is missing: the heads' results go through w_o at the end.", merge(right)),
        ("The scores are not scaled: divide them by sqrt(d).", merge(attend(q, k, v, 1)) @ w_o.T),
        (
            "You divide the scores by sqrt(C). A head's queries have d = C / heads channels: "
            "divide by sqrt(d).",
            merge(attend(q, k, v, x.shape[-1] ** -0.5)) @ w_o.T,
        ),
        (
            "Your softmax runs over the queries. The weights of one query, a row, sum to 1.",
            merge(attend(q, k, v, over=-2)) @ w_o.T,
        ),
        (
            "You multiply by w where nn.Linear multiplies by its transpose: x @ w.T.",
            merge(attend(*(blocks(x @ w) for w in weights[:3]))) @ w_o,
        ),
        (
            "You dealt the channels in turn. PyTorch's heads are contiguous blocks: "
            "unflatten(-1, (heads, -1)).",
            turned.permute(0, 2, 3, 1).flatten(2) @ w_o.T,
        ),
        (viewed_says, merge(viewed) @ w_o.T),
        (viewed_says, viewed.reshape(x.shape) @ w_o.T),
        (
            "The heads were put together without moving their axis back: transpose to "
            "(B, N, heads, d) before you flatten.",
            right.reshape(x.shape) @ w_o.T,
        ),
    ]
    return _named_slip(
        output,
        slips,
        "The numbers differ. Compare step by step, first with heads=1: values, scores, softmax, "
        "output.",
    )


register(
    Exercise(
        id="03.2",
        goal="Write multi_head(x, w_q, w_k, w_v, w_o, heads): what nn.MultiheadAttention without "
        "biases gives for x of shape (B, N, C). Project, then split.",
        difficulty=2,
        minutes=12,
        hints=(
            "Where do the channels of different heads meet: before or after the split?",
            "Project x with all of w_q, w_k, w_v (as nn.Linear does: transposed). Make (B, heads, "
            "N, d) of each. Scores divided by sqrt(d), softmax over the keys, times the values. "
            "Heads back beside each other, then w_o.",
            "def project(w):\n"
            "    return (x @ w.T).unflatten(-1, (heads, -1)).transpose(1, 2)\n"
            "q, k, v = project(w_q), project(w_k), project(w_v)\n"
            "scores = q @ k.transpose(-1, -2) / ...\n"
            "mixed = scores.softmax(-1) @ v           # (B, heads, N, d)\n"
            "return mixed.transpose(1, 2).flatten(2) @ ...",
        ),
        checker=_check_multi_head,
    )
)


# 03.3: parameters as functions.


def _check_count(count: Any) -> str:
    for channels, kernel_size, groups, heads in (
        (512, 7, 8, 64), (96, 7, 96, 3), (8, 3, 1, 2), (12, 5, 4, 6),
    ):  # fmt: skip
        result = call(count, channels, kernel_size, groups, heads)
        if not isinstance(result, tuple | list) or len(result) != 2:
            raise Wrong("Return two numbers: (of the convolution, of the attention).")
        if any(one is Ellipsis for one in result):
            raise NotAttempted
        with torch.device("meta"):
            conv = nn.Conv2d(channels, channels, kernel_size, groups=groups)
            attention = nn.MultiheadAttention(channels, heads)
        right = [sum(p.numel() for p in layer.parameters()) for layer in (conv, attention)]
        state = f"count({channels}, {kernel_size}, {groups}, {heads})"
        if result[0] != right[0]:
            raise Wrong(_why_the_conv_count_is_wrong(result[0], channels, kernel_size, groups))
        if result[1] != right[1]:
            raise Wrong(_why_the_attention_count_is_wrong(result[1], channels, heads, state))
    return "Groups divide the weights of the convolution. Heads do not occur in the formula."


def _why_the_conv_count_is_wrong(given: Any, c: int, k: int, groups: int) -> str:
    slips = {
        k * k * c * c // groups: "The convolution's bias is missing: one number for each output "
        "channel.",
        k * k * c * c + c: "The convolution's weights do not fall with the groups in your formula.",
        (k * k * c * c + c) // groups: "You divided the convolution's bias too: there is one for "
        "each output channel, however many groups there are.",
        k * k * c * c // groups**2 + c: "You divided by groups twice. Each output channel reads "
        "C / groups inputs; there are still C output channels.",
    }
    return slips.get(
        given,
        f"For {c} channels, kernel size {k} and {groups} groups your convolution has {given} "
        "parameters. Its weight has the shape (C, C / groups, k, k).",
    )


def _why_the_attention_count_is_wrong(given: Any, c: int, heads: int, state: str) -> str:
    slips = {
        4 * c * c: "The attention's biases are missing: four vectors of C.",
        3 * c * c + 3 * c: "Queries, keys, values: and the output projection?",
        heads * (4 * c * c + 4 * c): "Heads have no C x C matrices of their own: theirs are row "
        "blocks of one matrix.",
        (4 * c * c) // heads + 4 * c: "Attention's weights do not fall with the heads: a head "
        "reads all C channels.",
    }
    return slips.get(
        given,
        f"{state}: your attention has {given} parameters. It has four C x C matrices, each with "
        "a bias.",
    )


register(
    Exercise(
        id="03.3",
        goal="Write count(channels, kernel_size, groups, heads): the parameters, biases included, "
        "of nn.Conv2d(C, C, k, groups=groups) and of nn.MultiheadAttention(C, heads), as two "
        "numbers.",
        difficulty=1,
        minutes=6,
        hints=(
            "Which of the four arguments does the second number depend on?",
            "The convolution: k * k weights for each pair of output channel and input channel in "
            "its group, and one bias for each output channel. The attention: four matrices.",
            "convolution = kernel_size**2 * channels * (channels // ...) + ...\n"
            "attention = 4 * channels**2 + ...\n"
            "return convolution, attention",
        ),
        checker=_check_count,
    )
)


# 03.4: find the errors.

#: Which of the statements a to e are false, and why.
FALSE_STATEMENTS = ("a", "c", "e")
TRUE_STATEMENTS = {
    "b": "Statement b is true: the convolution's weights fall to 1 / G; attention has 4 C x C "
    "matrices for any number of heads.",
    "d": "Statement d is true: W_V comes before the split, and each of its columns reads all "
    "channels.",
}


def _check_find_the_errors(false_ones: Any) -> str:
    more = (
        "What you named is false, but there is more. Test each statement: print a weight's "
        "shape, take an example with other numbers of channels, ask what a row of positive "
        "numbers with sum 1 can do."
    )
    false_statements(false_ones, FALSE_STATEMENTS, TRUE_STATEMENTS, more, example="bd")
    return (
        "a, c and e. Each output channel has its own filters; depthwise means groups = "
        "in_channels; and one head averages over positions, it detects nothing by itself."
    )


register(
    Exercise(
        id="03.4",
        goal="Find the errors: name the false statements among a to e, as a set of letters.",
        difficulty=2,
        minutes=8,
        hints=(
            "For a and c take a layer with more output than input channels, and print the shape of "
            "its weight. For e: what sign has an attention weight?",
            "Conv2d(8, 16, 3, groups=8) and Conv2d(16, 8, 3, groups=8): which of the two is "
            "depthwise, and how many filters has each? For e, ask whether a row of positive "
            "numbers that sum to 1 can answer 0 on a flat image.",
            "print(nn.Conv2d(8, 16, 3, groups=8).weight.shape)   # how many input channels each?\n"
            "print(nn.Conv2d(16, 8, 3, groups=8).weight.shape)\n"
            "row = torch.randn(9).softmax(0)\n"
            "print(row @ torch.ones(9))                          # an edge filter gives 0",
        ),
        checker=_check_find_the_errors,
    )
)


# 03.5: how wide a head must be.


def _low_rank(channels: int, ranks: list[int]) -> nn.Conv2d:
    """Make a 3x3 convolution whose nine offsets have weights of these ranks."""
    conv = _conv(channels, channels, 1)
    with torch.no_grad():
        for n, rank in enumerate(ranks):
            product = noise(channels, rank, seed=n) @ noise(rank, channels, seed=20 + n)
            conv.weight[:, :, n // 3, n % 3] = product
    return conv


def _conv(c_in: int, c_out: int, groups: int) -> nn.Conv2d:
    conv = nn.Conv2d(c_in, c_out, 3, padding=1, groups=groups, bias=False, dtype=torch.float64)
    with torch.no_grad():
        conv.weight.copy_(noise(*conv.weight.shape, seed=9))
    return conv


def _check_width_needed(width_needed: Any) -> str:
    everyone = "W_V W_O of a head has rank at most its width. "
    for conv, right, what, wrong in (
        (_conv(18, 18, 1), 18, "a dense 3x3 on 18 channels", "An offset's "
         "weights are 18 x 18, of full rank. The width of nn.MultiheadAttention, C / H = 2, is too "
         "narrow for them. "),
        (_conv(6, 4, 1), 4, "a dense 3x3 from 6 to 4 channels", ""),
        (_conv(8, 8, 8), 8, "a depthwise 3x3 on 8 channels", "The weights of one offset are a "
         "diagonal C x C matrix. "),
        (_conv(8, 4, 2), 4, "a 3x3 from 8 to 4 channels with 2 groups", "The ranks of the blocks "
         "add up. "),
        (_low_rank(6, [1] * 9), 1, "a 3x3 on 6 channels, each offset's weights of rank 1",
         "Look at the weights, not only at the shape. "),
        (_low_rank(6, [1, 1, 1, 1, 3, 1, 2, 1, 1]), 3, "a 3x3 on 6 channels with offsets of rank "
         "1, 2 and 3", "All heads have one width: the largest rank decides. "),
    ):  # fmt: skip
        result = call(width_needed, conv)
        if getattr(result, "size", None) == 1 or (
            isinstance(result, Tensor) and result.numel() == 1
        ):
            result = result.item()  # one number, of NumPy or PyTorch
        if isinstance(result, bool) or not isinstance(result, int | float):
            raise Wrong(f"Expected one whole number; yours is a {type(result).__name__}.")
        if result != right:
            raise Wrong(f"For {what} your width is {result}. {wrong}{everyone}")
    return "The largest rank among the offsets' weights: for a random kernel min(C_in, C_out)."


register(
    Exercise(
        id="03.5",
        goal="Write width_needed(conv): the least width of its k² heads at which they can compute "
        "this nn.Conv2d exactly (any groups; padding k // 2).",
        difficulty=3,
        minutes=12,
        hints=(
            "What does the width of a head limit in the matrix W_V W_O?",
            "Take the C_in x C_out weights of each offset, with the zeros that groups leave. The "
            "head that looks there must reach their rank. as_mixing(conv, x, view='shifts') has "
            "them in .channel.",
            "example = torch.zeros(1, conv.in_channels, 1, 1).to(conv.weight)\n"
            "offsets = as_mixing(conv, example, view='shifts').channel   # (k², C_in, C_out)\n"
            "return int(torch.linalg.matrix_rank(...).max())",
        ),
        checker=_check_width_needed,
    )
)
