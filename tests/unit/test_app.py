"""The settings about files reach those who keep them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bot import config
from bot.app import engine_config, service_settings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("PARLEY_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("values", "mode"),
    [
        ({"model": "demo"}, "off"),
        ({"model": "demo", "pan_and_scan": "on"}, "on"),
        ({"model": "google/gemma-3-4b-it"}, "auto"),
        ({"model": "google/gemma-3-4b-it", "pan_and_scan": "off"}, "off"),
    ],
)
def test_the_demo_crops_only_when_told_to(values: dict[str, str], mode: str) -> None:
    assert engine_config(config.load(values)).pan_and_scan == mode


def test_limits_of_files() -> None:
    settings = service_settings(config.load({"max_image_mib": 3, "file_timeout_s": 7}))
    assert (settings.max_attachment_bytes, settings.attachment_timeout_s) == (3 * 2**20, 7)


@pytest.mark.parametrize("value", ["http://files.example.com", "*.example.com", "host:0"])
def test_a_wrong_host_is_named(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("PARLEY_EXTRA_MEDIA_HOSTS", f"fine.example, {value}")
    with pytest.raises(config.SettingsError) as caught:
        config.load()
    assert str(caught.value) == (
        f"PARLEY_EXTRA_MEDIA_HOSTS has {value!r}: write a host or host:port, without a scheme or a "
        "path"
    )
