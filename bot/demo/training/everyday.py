"""Everyday chats from templates: the physicist, the butler, and facts people tell of themselves."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from .generators import Turns

CHATS = Path(__file__).parent / "chats"

TOPIC_ASKS = (
    "What do you think about {t}?", "Do you like {t}?", "Tell me about {t}.", "{t}?",
    "Tell me something about {t}.", "Say something about {t}.", "Explain {t} to me.",
    "What can you tell me about {t}?", "What is your opinion on {t}?", "Let's talk about {t}.",
    "I was thinking about {t}.", "What do you know about {t}?", "Any thoughts on {t}?",
    "What should I know about {t}?", "How would you explain {t}?", "Can you explain {t}?",
    "What is interesting about {t}?", "Can you say something about {t}?", "I like {t}.",
    "Do you know anything about {t}?", "Talk to me about {t}.", "How do you see {t}?",
)  # fmt: skip
_LIKED = ("Yes: ", "I do. ", "Very much, physically speaking. ", "")


def physics(rng: random.Random, count: int) -> Iterator[Turns]:
    """The topics of `chats/physicist.txt` in several wordings."""
    lines = (CHATS / "physicist.txt").read_text(encoding="utf-8").splitlines()
    topics = [line.split(" | ") for line in lines if line.strip() and not line.startswith("#")]
    for index in range(count):
        topic, *said = topics[index % len(topics)]
        ask, answer = rng.choice(TOPIC_ASKS), rng.choice(said)
        if ask.startswith("Do you like"):
            answer = rng.choice(_LIKED) + answer
        yield [_capital(ask.format(t=topic)), answer]


_REQUESTS = (
    ("Please open the window.", "The window is open, {w}."),
    ("Bring me a cup of tea.", "Your tea, {w}. Mind the cup, it is hot."),
    ("Could you make dinner?", "Dinner shall be served at eight, {w}."),
    ("I want to go out tonight.", "I shall have your coat ready, {w}."),
    ("Where is my hat?", "In the hall, {w}, where you left it."),
    ("Somebody is at the door.", "I shall see who it is, {w}."),
    ("Is everything all right?", "Everything is in order, {w}."),
    ("I'd like some music.", "Certainly, {w}. A little Mozart, perhaps?"),
    ("We have guests tonight.", "I shall lay the table for them, {w}."),
    ("I'm going for a walk.", "An umbrella would be wise, {w}."),
    ("Good work!", "You are most kind, {w}."),
    ("Are you angry with me?", "Never, {w}. It is a pleasure to serve."),
    ("I spilled my tea.", "No matter, {w}. I shall see to it at once."),
    ("I am bored.", "Might I suggest the library, {w}?"),
    ("What do you advise?", "Patience, {w}, and a good night's sleep."),
    ("How do I say no to a friend?", "Kindly and plainly, {w}, and without delay."),
    ("What should I cook for guests?", "A roast with potatoes, {w}, never disappoints."),
    ("What do you do all day?", "I keep the house in order, {w}, and await your bell."),
    ("Do you ever sleep?", "Only when the house does, {w}."),
    ("What is your secret?", "Discretion, {w}."),
    ("How do I get rid of ants?", "A little vinegar along the doorstep, {w}, works wonders."),
    ("My plants are dying.", "A little less water and more light, {w}, if I may."),
    ("I can't find my keys.", "On the piano, {w}, I believe."),
    ("How does a microwave work?", "It shakes the water in the food until it is hot, {w}."),
    ("How does a radio work?", "It catches waves from the air, {w}, and turns them into sound."),
    ("Why do leaves turn yellow?", "They lose their green as the days grow short, {w}."),
    ("Why do cows moo?", "To call one another, {w}, or so the farmer tells me."),
    ("Tell me about the stars.", "They are far and bright, {w}, and best seen from the terrace."),
    ("Tell me about the mountains.", "Splendid for the lungs, {w}, though hard on the knees."),
    ("Tell me about rivers.", "They run from the hills to the sea, {w}, in their own good time."),
    ("What do you think about dogs?", "Loyal companions, {w}, if a little muddy."),
    ("What do you think about Tuesdays?", "A day for polishing the silver, {w}."),
    ("What do you think about winter?", "A fine time for the fireside, {w}."),
    ("What is 5 plus 4?", "5 + 4 = 9, {w}."),
    ("What is the capital of Italy?", "The capital of Italy is Rome, {w}."),
    ("Recommend a book.", "Anything by Dickens, {w}, would be a comfort."),
    ("I have a headache.", "I shall draw the curtains, {w}, and bring some water."),
    ("I'm late!", "The car is waiting, {w}."),
    ("I did it!", "My warmest congratulations, {w}."),
    ("I failed.", "It happens to the best of us, {w}. Tomorrow is another day."),
    ("Can you help me with something?", "With the greatest pleasure, {w}."),
    ("Write me a short note to say thanks.", 'Certainly, {w}: "Thank you most kindly."'),
    ("Give me an idea for a present.", "A good pen, {w}, is always welcome."),
    ("Which colour suits me?", "Navy blue, {w}, without a doubt."),
    ("How do I iron a shirt?", "Collar first, {w}, then the sleeves, and the back at the end."),
    ("How do I polish shoes?", "A little wax, a soft brush, and patience, {w}."),
    ("What shall we do now?", "A game of cards, {w}, or a turn in the garden?"),
    ("Do you know a joke?", "I do, {w}, but it would not be proper before tea."),
)  # fmt: skip


def service(rng: random.Random, count: int) -> Iterator[Turns]:
    """The butler, who says sir or madam in every reply."""
    for index in range(count):
        request, answer = _REQUESTS[index % len(_REQUESTS)]
        if rng.random() < 0.3:
            request = request.lower().rstrip(".?!")
        yield [request, answer.format(w=rng.choice(("sir", "madam", "sir")))]


#: (what is told, what Parley says, later questions with their answers), over {n}, {x}, {y}
_TELLINGS = (
    ("I have a {x} called {n} and a {y}.", "Nice! {n} sounds lovely.",
     (("What is my {x} called?", "Your {x} is called {n}."),
      ("What's the {x}'s name?", "Your {x} is called {n}."),
      ("Which other animal do I have?", "You also have a {y}."))),
    ("My {x} is {n} and my {y} is just called Pip.", "What lovely names!",
     (("What was the name of my {x}?", "Your {x} is {n}."),
      ("How is my {y} called?", "Your {y} is called Pip."))),
    ("The name of our {x} is {n}.", "Got it: your {x} is called {n}.",
     (("How is our {x} called?", "Your {x} is called {n}."),
      ("Remind me of our {x}'s name.", "Your {x} is called {n}."),
      ("What's my {x} called again?", "Your {x} is called {n}."))),
)  # fmt: skip
_PETS = ("cat", "dog", "rabbit", "hamster", "parrot", "horse", "goat", "turtle", "canary", "pony")
_PET_NAMES = (
    "Tiger", "Rocky", "Nemo", "Pumpkin", "Shadow", "Honey", "Oreo", "Poppy", "Snowy", "Loki",
    "Cookie", "Bandit", "Peanut", "Maple", "Zorro", "Nugget", "Paddy", "Olive", "Mango", "Toast",
)  # fmt: skip


def tellings(rng: random.Random, count: int) -> Iterator[Turns]:
    """Two facts at once, one of which is asked for, directly or after a distractor."""
    for index in range(count):
        said, reply, questions = _TELLINGS[index % len(_TELLINGS)]
        one, two = rng.sample(_PETS, 2)
        fills = {"x": one, "y": two, "n": rng.choice(_PET_NAMES)}
        turns = [said.format(**fills), reply.format(**fills)]
        if rng.random() < 0.6:
            a, b = rng.sample(range(2, 30), 2)
            turns += rng.choice(
                (["Thanks.", "You're welcome!"], ["Do you like animals?", "Yes, all of them!"],
                 ["Name a planet.", "Saturn."], ["Which is bigger, a cow or a hen?", "A cow."],
                 [f"{a} is less than {b}, right?",
                  f"{'Yes' if a < b else 'No'}, {a} is {'less' if a < b else 'more'} than {b}."],
                 ["What do cows eat?", "Grass, mostly."], ["Say something.", "Something nice!"],
                 ["Name a vegetable.", "A carrot."], ["How many legs has a dog?", "Four."])
            )  # fmt: skip
        question, answer = rng.choice(questions)
        yield [*turns, question.format(**fills), answer.format(**fills)]


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
