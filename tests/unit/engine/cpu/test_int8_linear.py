"""8-bit linears: exact sums, one scale per token, the same bits alone and in a batch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.engine.cpu import int8_linear
from bot.engine.cpu.int8_linear import Int8Linear

pytestmark = pytest.mark.skipif(
    not int8_linear.kernels_are_exact(), reason="this CPU has no exact 8-bit kernels"
)


@pytest.fixture(autouse=True)
def inference() -> object:
    with torch.inference_mode():
        yield


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_integers_are_exact() -> None:
    """Weights and activations that fit into 8 bits: the product is exact."""
    generator = torch.Generator().manual_seed(1)
    weight = torch.randint(-127, 128, (48, 64), generator=generator).float()
    rows = torch.randint(-127, 128, (5, 64), generator=generator).float()
    weight[:, 0] = 127
    rows[:, 1] = -127
    want = rows @ weight.t()
    torch.testing.assert_close(Int8Linear(weight)(rows), want, rtol=1e-5, atol=0.01)
    torch.testing.assert_close(Int8Linear(weight)(rows[:1]), want[:1], rtol=1e-5, atol=0.01)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 40), st.sampled_from([(64, 32), (640, 1536)]))
def test_a_row_depends_on_itself_alone(seed: int, rows: int, shape: tuple[int, int]) -> None:
    """To the last bit, although one row and several take different kernels."""
    wide, out = shape
    linear = Int8Linear(drawn(seed, out, wide))
    batch = drawn(seed + 1, rows, wide) * torch.logspace(-3, 3, rows)[:, None]
    together = linear(batch)
    for at in {0, rows // 2, rows - 1}:
        assert torch.equal(linear(batch[at : at + 1])[0], together[at])


def test_the_error_is_small_even_beside_a_row_of_outliers() -> None:
    weight = drawn(3, 256, 640)
    rows = drawn(4, 4, 640)
    rows[2] *= 1000
    want = rows @ weight.t()
    error = (Int8Linear(weight)(rows) - want).norm(dim=1) / want.norm(dim=1)
    assert error.max() < 0.015


def test_several_weights_are_stacked() -> None:
    one, two = drawn(5, 32, 64), drawn(6, 16, 64) * 50
    rows = drawn(7, 3, 64)
    both = Int8Linear(one, two)(rows)
    assert torch.equal(both, torch.cat([Int8Linear(one)(rows), Int8Linear(two)(rows)], 1))


@pytest.mark.parametrize("count", [1, 3])
def test_zeros_nan_and_infinity(count: int) -> None:
    linear = Int8Linear(drawn(8, 32, 64))
    rows = torch.zeros(count, 64)
    assert torch.equal(linear(rows), torch.zeros(count, 32))
    for bad in (float("nan"), float("inf")):
        rows[0, 5] = bad
        found = linear(rows)
        assert not torch.isfinite(found[0]).any()
        assert torch.equal(found[1:], torch.zeros(count - 1, 32))


def test_unscaled_rows_times_their_scale() -> None:
    linear = Int8Linear(drawn(9, 32, 64), single=False)
    for count in (1, 3):
        rows = drawn(10, count, 64)
        product, scale = linear.unscaled_product(rows)
        assert scale.shape == (count, 1)
        assert torch.equal(product * scale, linear(rows))
