"""The training parts: the chunked cross-entropy and the low-rank layers do what they claim."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from bot.demo import prepare
from bot.demo.training import lora


def test_the_chunked_cross_entropy_equals_torchs_own() -> None:
    torch.manual_seed(0)
    hidden = torch.randn(13, 8, requires_grad=True)
    weight, targets = torch.randn(50, 8), torch.randint(0, 50, (13,))
    loss = lora.chunked_cross_entropy(hidden, weight, targets, rows=4)
    loss.backward()
    grad, hidden.grad = hidden.grad, None
    expected = nn.functional.cross_entropy(hidden @ weight.T, targets)
    expected.backward()
    assert torch.allclose(loss, expected, atol=1e-5)
    assert grad is not None
    assert hidden.grad is not None
    assert torch.allclose(grad, hidden.grad, atol=1e-6)


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj = nn.Linear(6, 4, bias=False)
        self.other = nn.Linear(4, 4, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.other(self.q_proj(x))  # type: ignore[no-any-return]


def test_a_saved_and_merged_adapter_answers_like_the_trained_layer(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Tiny()
    x = torch.randn(3, 6)
    before = model(x)
    parameters = lora.add_lora(model, rank=2, alpha=4.0)
    assert len(parameters) == 2
    assert [p for p in model.parameters() if p.requires_grad] == parameters
    assert torch.allclose(model(x), before)  # B starts at zero
    with torch.no_grad():
        for parameter in parameters:
            parameter.copy_(torch.randn_like(parameter).bfloat16())
    path = tmp_path / "adapter.safetensors"
    lora.save_adapter(model, path, rank=2, alpha=4.0)
    plain = Tiny()
    plain.q_proj.load_state_dict(model.q_proj.base.state_dict())
    plain.other.load_state_dict(model.other.state_dict())
    with torch.no_grad():
        assert prepare.merge_adapter(dict(plain.named_parameters()), path) == 1
    assert torch.allclose(plain(x), model(x), atol=1e-5)


def test_training_goes_on_from_a_saved_adapter(tmp_path: Path) -> None:
    model, again = Tiny(), Tiny()
    first = lora.add_lora(model, rank=2, alpha=4.0)
    with torch.no_grad():
        for parameter in first:
            parameter.fill_(0.5)
    lora.save_adapter(model, tmp_path / "a.safetensors", rank=2, alpha=4.0)
    second = lora.add_lora(again, rank=2, alpha=4.0)
    lora.load_adapter(again, tmp_path / "a.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
