"""Figure of notebook 01: where a convolution stops being a Linear at each pixel."""

from __future__ import annotations

from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from helpers import theme
from helpers.figures.grids import _matrix, image_grid, outline, panels

__all__ = ["kernel_reach"]


def kernel_reach(
    image: ArrayLike,
    kernel: ArrayLike,
    difference: ArrayLike,
    *,
    pixel: tuple[int, int] | None = None,
    limit: float | None = None,
) -> Figure:
    """Draw what one output pixel reads, with which weights, and where a Linear falls short.

    Parameters
    ----------
    image : array_like, shape (H, W)
        One channel of the input.
    kernel : array_like, shape (k, k), k odd
        The weights from that channel to one output channel.
    difference : array_like, shape (H, W)
        The convolution's output minus that of a Linear applied at every pixel.
    pixel : (row, column), optional
        The output pixel whose window is outlined; the centre by default.
    limit : float, optional
        The end of the difference's scale; give the same to all kernel sizes that are compared.

    Returns
    -------
    Figure
        Three panels: the image with the window, the kernel, and the difference.

    Raises
    ------
    ValueError
        If the kernel is not square and odd, the difference has another shape than the image, or
        the pixel lies outside.

    Examples
    --------
    >>> fig = kernel_reach([[1.0, 2.0, 3.0]], [[2.0]], [[0.0, 0.0, 0.0]])
    >>> len(fig.axes)
    3
    """
    picture, weights, error = _matrix(image), _matrix(kernel), _matrix(difference)
    size = weights.shape[0]
    if weights.shape != (size, size) or size % 2 == 0:
        raise ValueError(
            f"kernel has the shape {weights.shape}: it must be square with an odd side, "
            "so that it has a centre."
        )
    if error.shape != picture.shape:
        raise ValueError(
            f"difference has the shape {error.shape} and the image {picture.shape}: they must be "
            f"the same. Pad the convolution by (k - 1) / 2 = {size // 2}."
        )
    row, column = pixel if pixel is not None else (s // 2 for s in picture.shape)
    if not (0 <= row < picture.shape[0] and 0 <= column < picture.shape[1]):
        raise ValueError(f"pixel ({row}, {column}) lies outside the image of {picture.shape}.")

    reach = size // 2
    fig, (left, middle, right) = panels(
        3,
        [
            "Input, and what\none output reads",
            f"Kernel {size} × {size}",
            "Conv − Linear\nat each pixel",
        ],
    )
    # The padding is drawn for every size, so that the image does not jump.
    image_grid(left, picture, kind="picture", padding=3)
    outline(left, (row - reach, column - reach), colour=theme.TOKEN, size=(size, size))
    outline(left, (row, column), colour=theme.CHANNEL)
    image_grid(middle, weights, numbers=".1f" if size <= 5 else False)
    outline(middle, (reach, reach), colour=theme.CHANNEL)
    image_grid(right, error, limit=limit)
    return fig
