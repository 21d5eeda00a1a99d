"""Figures: numbers in, a `matplotlib.figure.Figure` out, shown with a sentence."""

from __future__ import annotations

from helpers.figures.bars import Bar, Piece, stacked_bars, three_for_two
from helpers.figures.blocks import two_blocks
from helpers.figures.collapse import lengths_over_depth
from helpers.figures.designs import design_costs, runs_beside
from helpers.figures.encoding import Encoded, encode, frames_folder, write_frame
from helpers.figures.grids import image_grid, make_ready, outline, panels
from helpers.figures.learning import accuracy_curves, contact_sheet
from helpers.figures.morph import diagram, draw_step
from helpers.figures.picture import Picture, show
from helpers.figures.reach import kernel_reach

__all__ = [
    "Bar",
    "Encoded",
    "Picture",
    "Piece",
    "accuracy_curves",
    "contact_sheet",
    "design_costs",
    "diagram",
    "draw_step",
    "encode",
    "frames_folder",
    "image_grid",
    "kernel_reach",
    "lengths_over_depth",
    "make_ready",
    "outline",
    "panels",
    "runs_beside",
    "show",
    "stacked_bars",
    "three_for_two",
    "two_blocks",
    "write_frame",
]
