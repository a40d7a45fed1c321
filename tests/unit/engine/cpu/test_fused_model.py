"""The int8 kernels against float64 sums, `Int8Linear` and `LeanGemma`."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.engine.attention.sdpa import SdpaBackend
from bot.engine.cpu import backends, int8_linear
from bot.engine.cpu.int8_linear import Int8Linear
from bot.engine.cpu.int16_attention import Int16Backend
from bot.engine.cpu.lean_model import LeanGemma
from tests.support import models
from tests.support.kernels import PlainLinear, can_run, drawn, inference  # noqa: F401
from tests.support.layers import Layers

fused: Any = backends.load_kernels()[0]


# Not where `load_kernels` finds none: kernels that are wrong would only skip their own tests.
pytestmark = pytest.mark.skipif(not can_run(), reason="this machine can't run the kernels")


def test_the_kernels_load_where_they_can_run() -> None:
    assert fused is not None


def test_packing_holds_every_weight_and_nothing_else() -> None:
    """Odd sizes: 35 outputs are two panels, 6 inputs two steps; the padding is zero."""
    from bot.engine.cpu import layer_kernels

    weight = torch.arange(35 * 6).remainder(255).sub(127).to(torch.int8).view(35, 6)
    packed = layer_kernels.pack_weight(weight)
    flat = packed.transpose(1, 2).flatten(2).flatten(0, 1).int()
    assert torch.equal(flat[:35, :6] - 128, weight.int())
    assert not flat[35:].any()
    assert not flat[:, 6:].any()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 1000), st.integers(0, 35), st.integers(1, 100), st.integers(1, 70),
    st.integers(1, 2),
)  # fmt: skip
def test_sums_are_exact_whatever_the_sizes(
    seed: int, count: int, inputs: int, outputs: int, threads: int
) -> None:
    """Weights and activations that fit into 8 bits: the product is exact."""
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randint(-127, 128, (outputs, inputs), generator=generator).float()
    rows = torch.randint(-127, 128, (count, inputs), generator=generator).float()
    weight[:, 0], rows[:, 0] = 127, -127
    found = fused.FusedLinear(weight)(rows)
    want = rows.double() @ weight.double().t()
    torch.testing.assert_close(found.double(), want, rtol=1e-6, atol=0.01)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 40), st.sampled_from([(63, 33), (640, 1536)]))
def test_a_row_depends_on_itself_alone(seed: int, rows: int, shape: tuple[int, int]) -> None:
    """To the last bit, in any batch and on any number of threads."""
    wide, out = shape
    linear = fused.FusedLinear(drawn(seed, out, wide))
    batch = drawn(seed + 1, rows, wide) * torch.logspace(-3, 3, rows)[:, None]
    torch.set_num_threads(2)
    together = linear(batch)
    torch.set_num_threads(1)
    assert torch.equal(linear(batch), together)
    for at in {0, rows // 2, rows - 1}:
        assert torch.equal(linear(batch[at : at + 1])[0], together[at])


@pytest.mark.parametrize("count", [1, 3, 9])
def test_zeros_nan_and_infinity(count: int) -> None:
    """A bad row is bad everywhere and hurts no other; tiny rows give zeros, not NaN."""
    linear = fused.FusedLinear(drawn(8, 32, 64))
    rows = torch.zeros(count, 64)
    assert torch.equal(linear(rows), torch.zeros(count, 32))
    assert torch.isfinite(linear(torch.full((count, 64), 1e-40))).all()
    for bad in (float("nan"), float("inf"), float("-inf")):
        rows[0, 5] = bad
        found = linear(rows)
        assert not torch.isfinite(found[0]).any()
        assert torch.equal(found[1:], torch.zeros(count - 1, 32))


@pytest.mark.parametrize(
    "other",
    [
        PlainLinear,
        pytest.param(
            Int8Linear,
            marks=pytest.mark.skipif(not int8_linear.kernels_are_exact(), reason="not exact"),
        ),
    ],
)
def test_agrees_with_other_kernels(other: type[Int8Linear]) -> None:
    """Equal except for how a few ties round."""
    weight, rows = drawn(3, 256, 640), drawn(4, 5, 640)
    ours, theirs = fused.FusedLinear(weight)(rows), other(weight)(rows)
    assert (ours - theirs).norm() / theirs.norm() < 2e-3


def test_threads_may_call_at_once() -> None:
    """A worker that hung and its successor share the weights and nothing else."""
    linear = fused.FusedLinear(drawn(5, 512, 256))
    inputs = [drawn(seed, 7, 256) for seed in range(16)]
    want = [linear(rows) for rows in inputs]

    def often(at: int) -> bool:
        with torch.inference_mode():
            return all(torch.equal(linear(inputs[at]), want[at]) for _ in range(50))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(often, range(16)))


@pytest.fixture(scope="module")
def pair() -> tuple[Any, Any]:
    """The same tiny model on the kernels and on plain linears."""
    text_model = models.flat_text_model(1)
    return fused.FusedGemma(text_model), LeanGemma(text_model, PlainLinear)


def layers(model: Any) -> Layers:
    config = models.flat_text_model(1).config
    is_fused = isinstance(model, fused.FusedGemma)
    backend = Int16Backend(config, 16) if is_fused else SdpaBackend(config, torch.float32, 16)
    return Layers(model, backend, [None] * len(model._layers))


def run(model: Any, rows: torch.Tensor) -> torch.Tensor:
    """Prefill from scratch in a pool of its own."""
    alone = layers(model)
    return alone.run((alone.text(rows), 0, len(rows)))[0]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("count", [1, 2, 17])
def test_layers_agree_with_lean(pair: tuple[Any, Any], count: int, threads: int) -> None:
    torch.set_num_threads(threads)
    ours, theirs = pair
    rows = drawn(count, count, ours._norm.shape[0])
    kept = rows.clone()
    one, two = run(ours, rows), run(theirs, rows)
    assert (one - two).norm() / two.norm() < 0.02
    assert torch.equal(rows, kept)  # the embeddings aren't ours to write to


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 40), st.integers(1, 2))
def test_layers_give_a_row_the_same_bits_in_any_batch(
    pair: tuple[Any, Any], seed: int, count: int, threads: int
) -> None:
    """First rows of texts attend only to themselves, so only a mix-up of rows could change them."""
    model = pair[0]
    rows = drawn(seed, count, 1, model._norm.shape[0])
    torch.set_num_threads(threads)
    batch = layers(model)
    together = batch.run(*((batch.text(row), 0, 1) for row in rows))
    for at in {0, count // 2, count - 1}:
        assert torch.equal(run(model, rows[at]), together[at])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_layers_propagate_nan_and_infinity(pair: tuple[Any, Any], bad: float) -> None:
    """The runner finds a broken sequence by its last hidden states."""
    model = pair[0]
    rows = drawn(1, 3, 1, model._norm.shape[0])
    good = [run(model, row) for row in rows]
    rows[1, 0, 2] = bad
    batch = layers(model)
    found = batch.run(*((batch.text(row), 0, 1) for row in rows))
    assert not torch.isfinite(found[1]).all()
    assert torch.equal(found[0], good[0])
    assert torch.equal(found[2], good[2])


def test_without_numba_the_operator_is_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("bot.engine.cpu.fused_model", "bot.engine.cpu.layer_kernels"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.delattr("bot.engine.cpu.fused_model", raising=False)
    monkeypatch.setitem(sys.modules, "numba", None)
    assert backends.load_kernels.__wrapped__() == (
        None,
        "numba is not installed (pip install numba)",
    )
