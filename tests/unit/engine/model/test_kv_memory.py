"""The memory budget buys blocks for both groups of layers, or limits the context."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bot.engine.api import ModelLoadError
from bot.engine.model.kv_memory import build_block_manager
from bot.engine.model.loading import LoadedModel, LocalEngineConfig, load_model
from tests.support import models, toy_backend


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save_tiny(tmp_path_factory.mktemp("blind"), sees=False)


@pytest.fixture(scope="module")
def loaded(blind: Path) -> LoadedModel:
    return load_model(config(blind))


def config(model: Path, **changes: Any) -> LocalEngineConfig:
    return LocalEngineConfig(model=str(model), **{"device": "cpu", "dtype": "float32", **changes})


def test_memory_buys_blocks(blind: Path, loaded: LoadedModel) -> None:
    blocks, context = build_block_manager(config(blind, kv_memory_mib=8, max_context=1024), loaded)
    assert context == 1024
    full, sliding = blocks.groups
    width = 2 * 16 * 4  # keys and values, one head of 16, float32
    size = (full.pool.num_blocks * 2 + sliding.pool.num_blocks * 4) * 16 * width
    assert 7.5 * 2**20 < size <= 8 * 2**20
    assert sliding.pool.num_blocks < full.pool.num_blocks


def test_context_is_cut_to_what_memory_holds(blind: Path, loaded: LoadedModel) -> None:
    told: list[str] = []
    wanted = config(blind, kv_memory_mib=1, max_context=2048, max_step_tokens=64,
                    progress=told.append)  # fmt: skip
    _, context = build_block_manager(wanted, loaded)
    assert context <= 2048
    tiny = config(blind, kv_memory_mib=1, max_context=10**9)
    assert build_block_manager(tiny, loaded)[1] == 2048  # the model's own limit


def test_a_backend_has_a_block_size_of_its_own(blind: Path) -> None:
    with toy_backend.registered():
        loaded = load_model(config(blind))
    blocks, _ = build_block_manager(config(blind, kv_memory_mib=8, max_context=1024), loaded)
    assert blocks.block_size == toy_backend.BLOCK_SIZE
    token_bytes = loaded.choice.attention.bytes_per_token
    full, sliding = blocks.groups
    used = full.pool.num_blocks * 2 + sliding.pool.num_blocks * 4  # layers of each
    assert 7.5 * 2**20 < used * toy_backend.BLOCK_SIZE * token_bytes <= 8 * 2**20


def test_a_budget_for_less_than_a_short_conversation_names_the_setting(
    blind: Path, loaded: LoadedModel
) -> None:
    huge = replace(loaded, choice=replace(loaded.choice, attention=Huge()))
    with pytest.raises(ModelLoadError, match="PARLEY_KV_MEMORY_MIB=1 holds only") as caught:
        build_block_manager(config(blind, kv_memory_mib=1, max_context=512), huge)
    assert "set at least" in str(caught.value)


class Huge:
    """Attention whose keys and values take a megabyte a token."""

    block_size = 16
    bytes_per_token = 2**20
