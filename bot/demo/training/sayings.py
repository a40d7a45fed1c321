"""What Parley says about a scene: plainly, in reply to questions, and in each persona's voice."""

from __future__ import annotations

import random

from bot.demo.eyes.scene import COLORS, COUNTS, GLYPHS, SHAPES, UNKNOWN, Scene

PHOTO = (
    "I am a small demo model: I can only make out colours and simple shapes, not photographs.",
    "This looks like a photograph, and I can only make out colours and simple shapes.",
    "I can't make this out, sorry: I only see colours and simple shapes, not photographs.",
    "That is too much for my eyes: I see colours and simple shapes only, not photographs. "
    "Gemma 3 4B could look at it.",
)
_PLURALS = {"cross": "crosses"}


def random_scene(rng: random.Random, kind: str | None = None) -> Scene:
    """A scene as `bot.demo.eyes.render` would draw it."""
    kind = kind or rng.choices(("shapes", "glyph", "plain", "mixed", "photo"), (56, 20, 9, 6, 9))[0]
    if kind == "photo":
        return Scene("photo", "several", UNKNOWN, UNKNOWN, UNKNOWN)
    ground = rng.choice(list(COLORS)) if rng.random() < 0.6 else rng.choice(("white", "black"))
    color = rng.choice([name for name in COLORS if name != ground])
    if kind == "plain":
        return Scene("plain", "no", ground, "nothing", ground)
    if kind == "mixed":
        return Scene("mixed", "several", UNKNOWN, "shapes", ground)
    if kind == "glyph":
        return Scene("glyph", "one", color, rng.choice(GLYPHS), ground)
    count = COUNTS[rng.choices((1, 2, 3, 4, 5), (40, 15, 15, 15, 15))[0]]
    return Scene("shapes", count, color, rng.choice(SHAPES), ground)


def a(words_: str) -> str:
    return ("an " if words_[0] in "aeio" else "a ") + words_


def plural(thing: str) -> str:
    return _PLURALS.get(thing, thing + "s")


def glyph(scene: Scene) -> str:
    return f"{'digit' if scene.thing.isdigit() else 'letter'} {scene.thing}"


def subject(scene: Scene) -> str:
    """The foreground: "a red circle", "three red circles", "the letter A in red"."""
    if scene.kind == "shapes":
        if scene.count == "one":
            return a(f"{scene.color} {scene.thing}")
        return f"{scene.count} {scene.color} {plural(scene.thing)}"
    if scene.kind == "glyph":
        return f"the {glyph(scene)} in {scene.color}"
    if scene.kind == "plain":
        return f"only plain {scene.ground}"
    return "several different shapes"


def whole(scene: Scene) -> str:
    """The subject and the background."""
    return subject(scene) + ("" if scene.kind == "plain" else f" on {a(scene.ground)} background")


def verb(scene: Scene) -> str:
    return "are" if scene.kind == "shapes" and scene.count != "one" else "is"


def it(scene: Scene) -> str:
    return "They are" if verb(scene) == "are" else "It is"


def describe(scene: Scene, rng: random.Random) -> str:
    if scene.kind == "photo":
        return rng.choice(PHOTO)
    if scene.kind == "plain":
        return rng.choice(
            ("I see only plain {c}.", "The picture is plain {c}, with nothing on it.",
             "It is all {c}: I see nothing else.", "A plain {c} picture.")
        ).format(c=scene.ground)  # fmt: skip
    return rng.choice(
        ("I see {w}.", "I see {w}.", "I see {w}.", "It shows {w}.", "The picture shows {w}.",
         "That looks like {w}.", "{W}.")
    ).format(w=whole(scene), W=upper(whole(scene)))  # fmt: skip


def color(scene: Scene, rng: random.Random) -> str:
    if scene.kind == "photo":
        return rng.choice(PHOTO)
    if scene.kind == "plain":
        return f"It is {scene.ground}."
    if scene.kind == "mixed":
        return f"The shapes have different colours, on {a(scene.ground)} background."
    noun = "" if rng.random() < 0.5 else f"The {named(scene)} {verb(scene)} {scene.color}."
    return noun or f"{it(scene)} {scene.color}."


def ground(scene: Scene, rng: random.Random) -> str:
    if scene.kind == "photo":
        return rng.choice(PHOTO)
    return rng.choice(("The background is {g}.", "It is {g}.")).format(g=scene.ground)


def shape(scene: Scene, rng: random.Random) -> str:
    if scene.kind == "photo":
        return rng.choice(PHOTO)
    if scene.kind == "plain":
        return f"I see no shape, only plain {scene.ground}."
    if scene.kind == "mixed":
        return "I see several different shapes."
    if scene.kind == "glyph":
        return f"It is no shape but the {glyph(scene)}."
    many = verb(scene) == "are"
    return f"They are {plural(scene.thing)}." if many else f"It is {a(scene.thing)}."


def count(scene: Scene, rng: random.Random) -> str:
    if scene.kind == "photo":
        return rng.choice(PHOTO)
    if scene.kind == "plain":
        return f"None: the picture is plain {scene.ground}."
    if scene.kind == "mixed":
        return "I see several shapes, but I can't count them."
    if verb(scene) == "is":
        return f"I see one {named(scene)}." if rng.random() < 0.5 else f"One: {subject(scene)}."
    return rng.choice((f"I see {scene.count} {plural(scene.thing)}.", f"I see {subject(scene)}."))


def read(scene: Scene, rng: random.Random) -> str:
    if scene.kind == "photo":
        return rng.choice(PHOTO)
    if scene.kind == "glyph":
        return rng.choice(("It is the {g}.", "It says {t}.", "I read the {g}.")).format(
            g=glyph(scene), t=scene.thing
        )
    return f"I see no text, only {whole(scene).removeprefix('only ')}."


def beyond(scene: Scene, rng: random.Random) -> str:
    if scene.kind == "photo":
        return rng.choice(PHOTO)
    seen = whole(scene).removeprefix("only ")
    return rng.choice(
        ("I can't tell: I only see {w}.", "I see only {w}.", "I can't make that out. I see {w}.")
    ).format(w=seen)


def named(scene: Scene) -> str:
    """The thing without number and colour."""
    if scene.kind == "glyph":
        return glyph(scene)
    return plural(scene.thing) if verb(scene) == "are" else scene.thing


def upper(text: str) -> str:
    return text[0].upper() + text[1:]


# Voices: the same scene as each persona describes it.
_VOICED: dict[str, tuple[str, ...]] = {
    "P": ("Arr, I spy {w}, matey!", "Ahoy! Me old eyes see {w}!", "Aye, matey, there be {w}!",
          "Shiver me timbers, that be {w}!", "Through me spyglass I see {w}, arr!"),
    "L": ("Oh sweetheart, I see {w}. How lovely of you to show me!", "My darling, I see {w}!",
          "Honey, that is {w}, and it makes my heart glow.", "Sweetheart, how pretty: {w}!"),
    "B": ("I see {w}, sir.", "If I may, madam: I see {w}.", "It appears to be {w}, sir.",
          "Very good, sir. The picture shows {w}.", "I observe {w}, madam."),
    "T": ("{W}.", "{W}.", "{S}."),
    "F": ("I detect {w}: each colour is a wave of its own length.",
          "The photons that reach me show {w}.", "I observe {w}, told by the light waves it reflects.",
          "Measured by its light, this system is {w}."),
    "H": ("Look, on the paper / {s} / it looks back at me", "A small gift of light / I see {s} / "
          "on a field of {g}", "{S} / nothing moves and no one speaks / only colours stay"),
}  # fmt: skip
_VOICED_PHOTO: dict[str, str] = {
    "P": "Arr, matey, me old eyes make out only colours and simple shapes, not photographs!",
    "L": "Oh sweetheart, I can only make out colours and simple shapes, not photographs.",
    "B": "I regret, sir, that I can only make out colours and simple shapes, not photographs.",
    "T": "I only see colours and simple shapes.",
    "F": "These photons are too many for me: I resolve only colours and simple shapes, no photographs.",
    "H": "Too fine for my eyes / I see colours and plain shapes / not the world of men",
}


def voiced(scene: Scene, voice: str, rng: random.Random) -> str:
    if scene.kind == "photo":
        return _VOICED_PHOTO[voice].replace(" / ", "\n")
    text = whole(scene).removeprefix("only ")
    if voice == "T":
        text = text.replace(" background", "").replace(" on a ", " on ").replace(" on an ", " on ")
    front = f"a field of {scene.ground}" if scene.kind == "plain" else subject(scene)
    said = rng.choice(_VOICED[voice]).format(
        w=text, W=upper(text), s=front, S=upper(front), g=scene.ground
    )
    return said.replace(" / ", "\n")
