"""Wrong and right answers to the exercises of notebook 04."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from helpers.exercises import Status, check
from helpers.exercises.answers import noise
from helpers.kernels import apply_kernels, kernels_to_token
from helpers.mixing import as_mixing


def _lifted(conv: Any, height: int, width: int) -> torch.Tensor:
    image = torch.zeros(1, conv.in_channels, height, width, dtype=conv.weight.dtype)
    return as_mixing(conv, image).token[0]


def _read(conv: Any, height: int, width: int) -> torch.Tensor:
    """Read A off by running the layer on the identity."""
    unit = torch.eye(height * width, dtype=conv.weight.dtype).view(-1, 1, height, width)
    out = conv(unit.expand(-1, conv.in_channels, -1, -1))
    return out.flatten(2).permute(1, 2, 0)


def _unfolded(image: Any, filters: Any) -> torch.Tensor:
    batch, channels = image.shape[:2]
    heads, k = filters.shape[1], filters.shape[2]
    seen = F.unfold(image, k, padding=k // 2).view(batch, heads, channels // heads, k * k, -1)
    return (seen * filters.reshape(batch, heads, 1, k * k, -1)).sum(3).reshape(image.shape)


def _of(kernels: Any, height: int, width: int) -> torch.Tensor:
    return kernels_to_token(kernels[None, ..., None, None], (height, width))[0]


def _wrapped(conv: Any, height: int, width: int) -> torch.Tensor:
    k = conv.kernel_size[0]
    a = torch.zeros(conv.in_channels, height, width, height, width, dtype=conv.weight.dtype)
    for i in range(height):
        for j in range(width):
            for r in range(k):
                for s in range(k):
                    row, column = (i + r - k // 2) % height, (j + s - k // 2) % width
                    a[:, i, j, row, column] += conv.weight.detach()[:, 0, r, s]
    right = _read(conv, height, width).view_as(a)
    return torch.where(right != 0, right, a).flatten(3).flatten(1, 2)


def _interleaved(image: Any, filters: Any) -> torch.Tensor:
    heads = filters.shape[1]
    out = torch.empty_like(image)
    for c in range(image.shape[1]):
        out[:, [c]] = apply_kernels(image[:, [c]], filters[:, [c % heads]])
    return out


def _neighbours_choose(image: Any, filters: Any) -> torch.Tensor:
    """Each neighbour is weighed by its own filter: a loop over offsets that rolls the product."""
    k, r = filters.shape[2], filters.shape[2] // 2
    height, width = image.shape[2:]
    per_channel = filters.repeat_interleave(image.shape[1] // filters.shape[1], 1)
    out = torch.zeros_like(image)
    for a in range(k):
        for b in range(k):
            product = F.pad(image * per_channel[:, :, a, b], 4 * [r])
            out += product[..., a : a + height, b : b + width]
    return out


def _gap(f: Any, x: Any, y: Any) -> Any:
    return (f(x + y) - f(x) - f(y)).norm()


def _linear_part(f: Any, x: Any, y: Any) -> bool:
    zero = f(torch.zeros_like(x))
    gap = (f(x + y) - f(x) - f(y) + zero).norm()
    return bool(gap <= 1e-9 * f(x + y).norm())


def _close(left: Any, right: Any) -> bool:
    return bool((left - right).norm() <= 1e-9 * right.norm())


def _by(move: Any) -> Any:
    def name(f: Any, image: Any) -> str:
        if _close(f(2 * image), 2 * f(image)):
            return "depthwise"
        return "global" if _close(f(move(image)), move(f(image))) else "local"

    return name


def _reversed_names(f: Any, image: Any) -> str:
    names = {"global": "local", "local": "global", "depthwise": "depthwise"}
    return names[_by(_shuffled)(f, image)]


def _shuffled(image: Any) -> Any:
    order = torch.randperm(image[0, 0].numel(), generator=torch.Generator().manual_seed(1))
    return image.flatten(2)[..., order].view_as(image)


WRONG = {
    "04.1": [
        (lambda c, h, w: _read(c, h, w).mT, "transposed, or the filter flipped"),
        (lambda c, h, w: _of(c.weight.detach()[:, 0].flip(1, 2), h, w), "does not flip"),
        (lambda c, h, w: _of(c.weight.detach()[:, 0].mT, h, w), "have changed places"),
        (
            lambda c, h, w: _read(c, h, w)[:1].expand(c.in_channels, -1, -1),
            "the filter of channel 0",
        ),
        (_wrapped, "nothing comes in from the other side"),
        (lambda c, h, w: torch.zeros_like(_read(c, h, w)), "all zeros"),
        (lambda c, h, w: 2 * _read(c, h, w), "the numbers are not"),
        (lambda c, h, w: _read(c, h, w)[0], r"should have shape \(3, 20, 20\), \(C, N, N\)"),
        (lambda c, h, w: _read(c, h, w).tolist(), "yours is a list"),
        (lambda c, h, w: None, "returned None"),
        (_lifted, "the book's own as_mixing"),
        (lambda c, h, w: _of(c.weight.detach()[:, 0], h, w), "the book's own kernels_to_token"),
    ],
    "04.2": [
        (apply_kernels, "the book's own apply_kernels"),
        (lambda i, f: apply_kernels(i, f), "the book's own apply_kernels"),
        (_interleaved, "dealt in turn"),
        (lambda i, f: apply_kernels(i, f[..., :1, :1].expand_as(f)), "the filter of pixel 0"),
        (lambda i, f: apply_kernels(i, f.flip(2, 3)), "flipped"),
        (lambda i, f: apply_kernels(i, f.transpose(2, 3)), "changed places"),
        (_neighbours_choose, "brings its own filter"),
        (lambda i, f: apply_kernels(i, f) / f[0, 0, :, :, 0, 0].numel(), "the mean over"),
        (
            lambda i, f: apply_kernels(i, f.flatten(2, 3).softmax(2).view_as(f)),
            "through a softmax",
        ),
        (lambda i, f: apply_kernels(i, f) + 1, "the image should come back"),
        (lambda i, f: apply_kernels(i, f).flatten(2), r"\(B, C, H, W\); yours has"),
    ],
    "04.3": [
        (lambda f, x, y: torch.equal(f(x + y), f(x) + f(y)), "bit by bit"),
        (lambda f, x, y: bool(_gap(f, x, y) < 1e-9), "a fixed number"),
        (lambda f, x, y: bool(_gap(f, x, y) < 1e-4), "whatever it does"),
        (lambda f, x, y: torch.allclose(f(x + y), f(x) + f(y)), "allclose has an atol"),
        (lambda f, x, y: bool(_gap(f, x, y) <= 1e-3 * f(x + y).norm()), "ask for a billionth"),
        (
            lambda f, x, y: torch.allclose(f(x + y), f(x) + f(y), rtol=1e-3, atol=1e-15),
            "ask for a billionth",
        ),
        (_linear_part, "holds it twice"),
        (lambda f, x, y: _gap(f, x, y).item(), "yours is a float"),
        (lambda f, x, y: True, "Not right for attention: True"),
        (lambda f, x, y: False, "is additive, and your test says it is not"),
    ],
    "04.4": [
        ({"b"}, "there are 2 more"),
        ({"b", "c"}, "there is 1 more"),
        ({"a", "b"}, "Statement a is true"),
        ("bde", "Statement d is true"),
        ({"f"}, "no statement f; they are a to e"),
        (3, "as a set"),
    ],
    "04.5": [
        (lambda f, x: "depthwise", "You called a layer depthwise that is local"),
        (lambda f, x: "conv", "Return one of"),
        (_by(lambda t: t.flip(3)), "You called attention global that is local.*beside each other"),
        (_reversed_names, "You called attention global that is local"),
        (lambda f, x: "global", "You called a layer global that is depthwise"),
    ],
}

RIGHT = {
    "04.1": [_read, lambda *given: _read(*given).float()],
    "04.2": [_unfolded, lambda image, filters: _unfolded(image, filters).float()],
    "04.3": [
        lambda f, x, y: torch.allclose(f(x + y), f(x) + f(y), rtol=1e-9, atol=1e-15),
        lambda f, x, y: _gap(f, x, y) <= 1e-8 * f(x + y).norm(),
        lambda f, x, y: np.bool_(bool(_gap(f, x, y) <= 1e-8 * f(x + y).norm())),
    ],
    "04.4": [{"b", "c", "e"}, "bce", "b, c and e", ("(e)", "B", "c.")],
    # A shift around the edge tears neighbours apart at the seam.
    "04.5": [_by(_shuffled), _by(lambda image: image.roll(1, 3))],
}


def test_nothing_named_is_not_attempted() -> None:
    assert check("04.4", set()).status is Status.NOT_ATTEMPTED


def test_the_neighbours_slip_is_another_result() -> None:
    image, filters = noise(1, 2, 4, 5), noise(1, 2, 3, 3, 4, 5, seed=1)
    assert (_neighbours_choose(image, filters) - apply_kernels(image, filters)).abs().max() > 1
