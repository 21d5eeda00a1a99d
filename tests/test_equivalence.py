"""assert_equivalent must catch what a reader could get wrong; the transplants must refuse it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from helpers.blocks import ConvNeXtTail, EncoderFeedForward, FeedForward
from helpers.equivalence import (
    Comparison,
    Equivalence,
    OnPixels,
    assert_equivalent,
    fold_scale,
    linear_from_pointwise,
    normwise_difference,
    pointwise_from_linear,
)

SIZES = st.integers(1, 7)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(batch=SIZES, c_in=SIZES, c_out=SIZES, h=SIZES, w=SIZES, bias=st.booleans())
def test_transplants_both_ways_over_images(batch, c_in, c_out, h, w, bias) -> None:
    image = torch.randn(batch, c_in, h, w)
    conv = nn.Conv2d(c_in, c_out, 1, bias=bias)
    linear = linear_from_pointwise(conv)
    assert_equivalent(conv, OnPixels(linear), image, parameters={"weight": "layer.weight"})
    back = pointwise_from_linear(linear)
    assert torch.equal(back.weight, conv.weight)
    assert (back.bias is None) == (conv.bias is None) == (not bias)


@settings(derandomize=True, deadline=None, max_examples=20)
@given(batch=SIZES, c_in=SIZES, c_out=SIZES, length=SIZES, bias=st.booleans())
def test_transplants_both_ways_over_sequences(batch, c_in, c_out, length, bias) -> None:
    linear = nn.Linear(c_in, c_out, bias=bias)
    conv = pointwise_from_linear(linear, dims=1)
    assert_equivalent(conv, OnPixels(linear), torch.randn(batch, c_in, length))
    assert torch.equal(linear_from_pointwise(conv).weight, linear.weight)


@pytest.mark.parametrize(
    ("settings_", "culprit"),
    [
        ({"kernel_size": 3}, "kernel_size"),
        ({"kernel_size": (1, 3)}, "kernel_size"),
        ({"kernel_size": 1, "stride": 2}, "stride"),
        ({"kernel_size": 1, "padding": 1}, "padding"),
        ({"kernel_size": 1, "groups": 2}, "groups"),
    ],
)
def test_what_is_no_linear_is_refused_by_name(settings_, culprit) -> None:
    with pytest.raises(ValueError, match=f"^{culprit} is"):
        linear_from_pointwise(nn.Conv2d(4, 4, **settings_))


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_padding_in_words_adds_nothing_at_kernel_size_one(padding) -> None:
    conv = nn.Conv2d(3, 4, 1, padding=padding)
    assert_equivalent(conv, OnPixels(linear_from_pointwise(conv)), torch.randn(1, 3, 2, 5))


def test_other_layers_are_refused() -> None:
    with pytest.raises(TypeError, match="got Linear"):
        linear_from_pointwise(nn.Linear(2, 2))
    with pytest.raises(TypeError, match="got Conv2d"):
        pointwise_from_linear(nn.Conv2d(2, 2, 1))
    with pytest.raises(ValueError, match="dims is 3"):
        pointwise_from_linear(nn.Linear(2, 2), dims=3)
    with pytest.raises(ValueError, match=r"scale has shape \(2,\)"):
        fold_scale(nn.Linear(2, 3), torch.ones(2))


def _changed(linear: nn.Linear, index: tuple[int, ...], by: float) -> nn.Linear:
    with torch.no_grad():
        linear.weight[index] += by
    return linear


def test_one_changed_weight_is_found_and_located() -> None:
    conv = nn.Conv2d(3, 5, 1).double()
    changed = _changed(linear_from_pointwise(conv), (4, 2), 1e-6)
    with pytest.raises(AssertionError, match=r"output differs in torch.float64: at \[\d, 4, "):
        assert_equivalent(conv, OnPixels(changed), torch.randn(2, 3, 4, 6))


def test_equal_values_with_other_gradients_are_found() -> None:
    class Detached(nn.Module):
        def forward(self, x):
            return x * 0.5 + x.detach() * 0.5

    with pytest.raises(AssertionError, match="gradient of the input differs"):
        assert_equivalent(nn.Identity(), Detached(), torch.randn(3, 2))


def test_gradients_of_parameters_are_compared() -> None:
    tail = ConvNeXtTail(4, layer_scale=0.5)
    folded = OnPixels(FeedForward.from_tail(tail))
    names = {"pwconv2.weight": "layer.linear2.weight"}
    with pytest.raises(AssertionError, match=r"gradient of pwconv2\.weight differs"):
        assert_equivalent(tail, folded, torch.randn(2, 4, 3, 3), parameters=names)


def test_nan_never_counts_as_close() -> None:
    nan = torch.tensor([float("nan"), 1.0])
    assert normwise_difference(nan, nan) == float("inf")


def test_a_mistake_of_layout_is_named() -> None:
    with pytest.raises(AssertionError, match="channels first and the other channels last"):
        assert_equivalent(
            nn.Conv2d(3, 5, 1), lambda x: x.permute(0, 2, 3, 1), torch.randn(1, 3, 2, 2)
        )


def test_bad_calls_say_what_is_missing() -> None:
    x = torch.randn(2, 2)
    with pytest.raises(TypeError, match="needs an example input"):
        assert_equivalent(nn.Identity(), nn.Identity())
    with pytest.raises(KeyError, match="right has no parameter 'w'; it has weight, bias"):
        assert_equivalent(nn.Linear(2, 2), nn.Linear(2, 2), x, parameters={"weight": "w"})
    with pytest.raises(TypeError, match="plain function: it has no parameter"):
        assert_equivalent(lambda x: x, nn.Identity(), x, parameters={"a": "b"})
    weight = torch.eye(2)
    with pytest.raises(TypeError, match="holds tensors of one dtype"):
        assert_equivalent(lambda x: x @ weight, nn.Identity(), x)
    with pytest.raises(ValueError, match="carries no gradient"):
        assert_equivalent(lambda x: x.detach(), nn.Identity(), x)


def test_readers_modules_are_left_alone() -> None:
    linear = nn.Linear(2, 2)
    before = linear.weight.clone()
    assert_equivalent(linear, linear, torch.randn(1, 2), parameters={"weight": "weight"})
    assert linear.weight.dtype == torch.float32
    assert torch.equal(linear.weight, before)
    assert linear.weight.grad is None


@settings(derandomize=True, deadline=None, max_examples=20)
@given(batch=SIZES, channels=st.integers(3, 7), h=SIZES, w=SIZES, expansion=st.integers(1, 4))
def test_tail_is_the_encoder_layers_feed_forward(batch, channels, h, w, expansion) -> None:
    tail = ConvNeXtTail(channels, expansion, layer_scale=0.7).double()
    layer = nn.TransformerEncoderLayer(
        channels,
        1,
        expansion * channels,
        dropout=0.0,
        activation="gelu",
        layer_norm_eps=1e-6,
        norm_first=True,
        batch_first=True,
    ).double()
    FeedForward.from_tail(tail).load_into(layer)
    image = torch.randn(batch, channels, h, w)
    # In float64 alone: a LayerNorm over few channels cancels, and float32 keeps few digits; over
    # two it can cancel all but a few of float64's.
    assert_equivalent(tail, OnPixels(EncoderFeedForward(layer)), image, dtypes=[torch.float64])
    # PyTorch's own code path, not only our reading of it:
    tokens = image.double().permute(0, 2, 3, 1).flatten(1, 2)
    theirs = layer._ff_block(layer.norm2(tokens))
    assert normwise_difference(EncoderFeedForward(layer)(tokens), theirs) < 1e-12


def test_tail_with_one_channel_gives_the_same_values() -> None:
    # Values only: a LayerNorm over one channel is constant, so its gradient is rounding noise.
    tail = ConvNeXtTail(1, layer_scale=0.7).double()
    image = torch.randn(1, 1, 3, 5, dtype=torch.float64)
    feed_forward = OnPixels(FeedForward.from_tail(tail))
    assert normwise_difference(tail(image), feed_forward(image)) < 1e-12


def test_feed_forward_refuses_what_computes_something_else() -> None:
    feed_forward = FeedForward(4)
    with pytest.raises(ValueError, match="norm_first=False"):
        feed_forward.load_into(nn.TransformerEncoderLayer(4, 1, 16, batch_first=True))
    with pytest.raises(ValueError, match=r"norm2\.eps is 1e-05"):
        feed_forward.load_into(
            nn.TransformerEncoderLayer(4, 1, 16, norm_first=True, batch_first=True)
        )
    with pytest.raises(ValueError, match="norm_first=False"):
        EncoderFeedForward(nn.TransformerEncoderLayer(4, 1, 16, batch_first=True))
    with pytest.raises(ValueError, match="channels is 0"):
        ConvNeXtTail(0)
    with pytest.raises(ValueError, match="expansion is 0"):
        FeedForward(4, 0)


@pytest.mark.parametrize("name", ["weight", "transformer.linear1.weight"])
def test_columns_do_not_touch_whatever_the_names(name: str) -> None:
    what = f"gradient of {name}"
    found = Equivalence(tuple(Comparison(w, torch.float64, 0, 1e-12) for w in ("output", what)))
    head, *rows = repr(found).splitlines()
    assert f"{what} " in repr(found)
    assert (
        {row.index("below") for row in rows} == {head.index("float64")} == {max(24, len(what) + 1)}
    )
