"""The renders that the demo's eyes are to be trained on."""

import random

import numpy as np

from bot.demo.eyes.render import render


def test_the_same_seed_gives_the_same_picture_and_labels() -> None:
    first, scene, spots = render(random.Random(7))
    again, scene_again, spots_again = render(random.Random(7))
    assert (scene, spots) == (scene_again, spots_again)
    assert np.array_equal(np.asarray(first), np.asarray(again))


def test_pictures_are_of_one_size_and_differ() -> None:
    rng = random.Random(1)
    pictures = [render(rng)[0] for _ in range(12)]
    assert {picture.size for picture in pictures} == {(96, 96)}
    assert {picture.mode for picture in pictures} == {"RGB"}
    assert len({picture.tobytes() for picture in pictures}) == 12
