"""Explorers: figures with controls, alive in JupyterLab, in the book and on slides."""

from __future__ import annotations

from helpers.explorers.base import ExplorerWidget, strip_widget_views
from helpers.explorers.block_designer import BlockDesigner
from helpers.explorers.budget_designer import BudgetDesigner
from helpers.explorers.by_hand import ByHand
from helpers.explorers.edge_head import EdgeHead
from helpers.explorers.explore import Explorer, explore
from helpers.explorers.groups_heads import GroupsAndHeads
from helpers.explorers.heads_kernel import HeadsAsKernel
from helpers.explorers.learned_mixing import LearnedMixing
from helpers.explorers.linked import LinkedFigure
from helpers.explorers.morph_block import MorphBlock
from helpers.explorers.one_pixel import OnePixel
from helpers.explorers.operator_matrix import OperatorMatrix
from helpers.explorers.page import esm, modules, page_script, page_style
from helpers.explorers.quadratic_cost import QuadraticCost
from helpers.explorers.receptive_field import ReceptiveField
from helpers.explorers.shuffle_shift import ShuffleShift
from helpers.explorers.two_blocks import TwoBlocks
from helpers.explorers.two_matrices import TwoMatrices

__all__ = [
    "BlockDesigner",
    "BudgetDesigner",
    "ByHand",
    "EdgeHead",
    "Explorer",
    "ExplorerWidget",
    "GroupsAndHeads",
    "HeadsAsKernel",
    "LearnedMixing",
    "LinkedFigure",
    "MorphBlock",
    "OnePixel",
    "OperatorMatrix",
    "QuadraticCost",
    "ReceptiveField",
    "ShuffleShift",
    "TwoBlocks",
    "TwoMatrices",
    "esm",
    "explore",
    "modules",
    "page_script",
    "page_style",
    "strip_widget_views",
]
