"""The eyes' parts: truth that follows its picture, first weights, words, and the whole model."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoImageProcessor, Gemma3ForConditionalGeneration

from bot.demo.eyes import dense, judge, pictures, train
from bot.demo.eyes.assemble import EyesError, add_eyes
from bot.demo.eyes.lexicon import KEYS, Lexicon
from bot.demo.eyes.render import SIZE, draw, render
from bot.demo.eyes.scene import CLASSES, SLOTS, Scene
from bot.demo.eyes.tower import (
    GRID,
    OFFSETS,
    PLACE,
    build_eyes,
    look,
    places,
    plain_attention,
    shift,
    start_out,
    to_pixels,
)
from tests.support import models

pytestmark = pytest.mark.usefixtures("one_thread")

HIDDEN = 64  # of the tiny text model


def made_up_lexicon(size: int = HIDDEN) -> Lexicon:
    generator = torch.Generator().manual_seed(0)
    counts = [1 if slot.startswith("=") else len(CLASSES[slot]) for slot in SLOTS]
    firsts = {slot: sum(len(CLASSES[k]) for k in KEYS[: KEYS.index(slot)]) for slot in KEYS}
    words = sum(map(len, CLASSES.values())) + 1
    choices = [
        torch.arange(count) + firsts.get(slot, words - 1)
        for slot, count in zip(SLOTS, counts, strict=True)
    ]
    return Lexicon(torch.randn(words, size, generator=generator), choices)


def test_truth_goes_with_the_picture_when_it_is_turned() -> None:
    some = pictures.make("turned", 60, {"shapes": 1})
    rng = np.random.default_rng(5)
    after = pictures.turned(some, rng)
    moved = 0
    for row in range(len(some)):
        before_at, after_at = some.spots[row, 0, :2], after.spots[row, 0, :2]
        x, y = (before_at * SIZE).astype(int)
        u, v = np.minimum((after_at * SIZE).astype(int), SIZE - 1)
        near = after.pixels[row, max(0, v - 1) : v + 2, max(0, u - 1) : u + 2].reshape(-1, 3)
        assert (np.abs(near.astype(int) - some.pixels[row, y, x]).max(1) < 40).any()
        moved += not np.array_equal(some.pixels[row], after.pixels[row])
    assert moved > 30


def test_glyphs_are_never_turned() -> None:
    some = pictures.make("glyphs", 20, {"glyph": 1})
    assert np.array_equal(pictures.turned(some, np.random.default_rng(1)).pixels, some.pixels)


def test_sets_come_back_as_they_were_saved(tmp_path: Path) -> None:
    some = pictures.make("saved", 8)
    pictures.save(some, tmp_path / "a.npz")
    again = pictures.load(tmp_path / "a.npz")
    assert np.array_equal(again.pixels, some.pixels)
    assert np.array_equal(again.inside, some.inside)
    batch = next(pictures.batches(lambda: [again, some], 4, seed=0))
    assert len(batch) == 4
    assert batch.pixels.shape == (4, SIZE, SIZE, 3)


def test_patches_know_what_lies_in_them() -> None:
    rng = random.Random(2)
    for _ in range(20):
        picture = pictures.make(f"patch {rng.random()}", 1, {"mixed": 1})
        thing, color, middle = dense.contents(picture)
        count = int((picture.spots[0, :, 2] > 0).sum())
        assert int(middle.sum()) == count
        told = set(thing[0].tolist()) - {dense.THINGS}
        assert told == set(picture.inside[0, :count, 0].tolist())
        ground = picture.labels[0, KEYS.index("ground")]
        assert (color[0][thing[0] == dense.THINGS] == ground).all()


def test_a_shift_takes_one_place_to_another() -> None:
    where = places().view(GRID, GRID, PLACE)
    assert torch.allclose(shift(2, -1) @ where[3, 2], where[2, 4], atol=1e-4)
    likeness = places() @ places().T
    assert torch.allclose(likeness.diagonal(), torch.full((GRID * GRID,), PLACE / 2.0), atol=1e-3)
    assert float((likeness - torch.diag(likeness.diagonal())).max()) <= PLACE / 4 + 1e-3


def test_heads_start_at_their_offsets() -> None:
    lexicon = made_up_lexicon()
    eyes = build_eyes(HIDDEN)
    some = pictures.make("start", 40)
    start_out(eyes, some.pixels, lexicon.vectors)
    tower = eyes["vision_tower"]
    with torch.no_grad():
        _, layers = look(eyes, to_pixels(some.pixels[:16]))
        for number, offsets in enumerate(OFFSETS):
            attention = tower.encoder.layers[number].self_attn
            normed = tower.encoder.layers[number].layer_norm1(layers[number])
            split = (16, GRID * GRID, len(offsets), -1)
            query, key = (
                part(normed).view(split).transpose(1, 2)
                for part in (attention.q_proj, attention.k_proj)
            )
            weights = (query @ key.transpose(2, 3) * attention.scale).softmax(-1).mean(0)
            for head, (dx, dy) in enumerate(offsets):
                x, y = 3, 4
                assert int(weights[head, y * GRID + x].argmax()) == (y + dy) * GRID + x + dx


def test_plain_attention_is_attention() -> None:
    torch.manual_seed(0)
    pixels = torch.randn(2, 3, SIZE, SIZE)
    eyes, other = build_eyes(HIDDEN), build_eyes(HIDDEN, plain_attention)
    other.load_state_dict(eyes.state_dict())
    with torch.no_grad():
        ours, theirs = (look(one, pixels)[1][-1] for one in (other, eyes))
        assert torch.allclose(ours, theirs, atol=1e-4)


def test_the_words_own_vectors_are_read_as_those_words() -> None:
    lexicon = made_up_lexicon()
    labels = torch.tensor([pictures.labels_of(render(random.Random(n))[1]) for n in range(40)])
    soft = lexicon.vectors[lexicon.target_rows(labels)]
    soft = soft + 0.3 * torch.randn(soft.shape, generator=torch.Generator().manual_seed(1))
    said = lexicon.read_out(soft)
    assert torch.equal(torch.stack([said[key] for key in KEYS], 1), labels)
    found = judge.figures(said, labels)
    assert found["color"] == found["shape"] == found["count"] == 1.0
    said["color"] = (said["color"] + 1) % len(CLASSES["color"])
    assert judge.figures(said, labels)["color"] == 0.0
    said["thing"] = torch.full_like(said["thing"], CLASSES["thing"].index("moon"))
    assert {heard for _, heard, _ in judge.confusions(said["thing"], labels, 1)} == {"moon"}


def test_every_weight_learns_and_the_loss_falls() -> None:
    torch.manual_seed(0)
    lexicon, batch = made_up_lexicon(), pictures.make("learn", 6)
    eyes, heads = build_eyes(HIDDEN, plain_attention), train.Heads()
    start_out(eyes, batch.pixels, lexicon.vectors)
    optimizer = torch.optim.AdamW([*eyes.parameters(), *heads.parameters()], lr=1e-3)
    labels, losses = torch.from_numpy(batch.labels), []
    for _ in range(8):
        soft, layers = look(eyes, to_pixels(batch.pixels))
        entropy, distance = train.word_loss(lexicon, soft, labels)
        loss = entropy + distance + heads(layers, batch)
        optimizer.zero_grad()
        loss.backward()
        still = [n for n, p in eyes.named_parameters() if p.grad is None or not p.grad.any()]
        assert all(name.endswith("k_proj.bias") for name in still)  # softmax cancels those
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny text model's folder and random eyes for it."""
    folder = models.save_tiny(tmp_path_factory.mktemp("text"), sees=False)
    torch.manual_seed(3)
    eyes = build_eyes(HIDDEN)
    start_out(eyes, pictures.make("tiny", 20).pixels, made_up_lexicon().vectors)
    path = folder.parent / "random-eyes.safetensors"
    save_file({name: t.contiguous() for name, t in eyes.state_dict().items()}, str(path))
    return folder, path


def test_a_model_with_eyes_says_the_same_in_text(tiny: tuple[Path, Path], tmp_path: Path) -> None:
    folder, eyes = tiny
    add_eyes(folder, tmp_path, eyes)
    model, report = Gemma3ForConditionalGeneration.from_pretrained(
        tmp_path, dtype=torch.float32, output_loading_info=True
    )
    assert not any(report.values())
    text = models.tiny_text_model()
    for name, weight in text.model.state_dict().items():
        assert torch.equal(model.model.language_model.state_dict()[name], weight)
    ids = torch.tensor([[2, 20, 21, 22]])
    with torch.no_grad():
        assert torch.equal(model(input_ids=ids).logits, text(input_ids=ids).logits)
        soft = model.get_image_features(torch.zeros(1, 3, SIZE, SIZE)).pooler_output
    assert soft.shape == (1, len(SLOTS), HIDDEN)
    copied = {path.name for path in folder.iterdir()} - {"model.safetensors", "config.json"}
    for name in copied:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_eyes_can_be_added_in_place(tiny: tuple[Path, Path], tmp_path: Path) -> None:
    folder, eyes = tiny
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    add_eyes(folder, tmp_path / "apart", eyes)
    add_eyes(tmp_path, tmp_path, eyes)
    apart = load_file(str(tmp_path / "apart" / "model.safetensors"))
    here = load_file(str(tmp_path / "model.safetensors"))
    assert here.keys() == apart.keys()
    assert all(torch.equal(here[name], weight) for name, weight in apart.items())
    assert AutoConfig.from_pretrained(tmp_path).model_type == "gemma3"
    assert not list(tmp_path.glob("*.part"))


def test_eyes_for_another_model_are_refused(tiny: tuple[Path, Path], tmp_path: Path) -> None:
    folder, eyes = tiny
    config = json.loads((folder / "config.json").read_text())
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "config.json").write_text(json.dumps({**config, "hidden_size": 65}))
    with pytest.raises(EyesError, match="reinstall"):
        add_eyes(tmp_path, tmp_path / "out", eyes)


def test_the_processor_gives_what_the_tower_was_trained_on(
    tiny: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, eyes = tiny
    add_eyes(folder, tmp_path, eyes)
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    for seed in range(5):
        image, scene, _ = draw(random.Random(seed))
        trained, same_scene, _ = render(random.Random(seed))
        assert scene == same_scene
        values = processor(images=[image], return_tensors="pt")["pixel_values"]
        assert torch.allclose(values[0], to_pixels(np.asarray(trained)[None])[0], atol=0.01)
    wide = render(random.Random(1))[0].resize((3000, 300))
    crops = processor(images=[wide], return_tensors="pt", do_pan_and_scan=True)
    assert len(crops["pixel_values"]) == 1


def test_labels_are_the_scenes() -> None:
    scene = Scene("shapes", "three", "red", "star", "white")
    found = dict(zip(KEYS, pictures.labels_of(scene), strict=True))
    assert {key: CLASSES[key][place] for key, place in found.items()} == {
        "kind": "shapes", "count": "three", "color": "red", "thing": "star", "ground": "white",
    }  # fmt: skip
