"""Chats from templates: sums, capitals, translations, memory, pictures, shared threads."""

from __future__ import annotations

import random
from collections.abc import Iterator

from . import words

#: Alternating user and assistant texts, the user first.
Turns = list[str]


def sums(rng: random.Random, count: int, held_out: set[tuple[int, int]]) -> Iterator[Turns]:
    """Small additions, subtractions, products and word problems."""
    for _ in range(count):
        kind = rng.random()
        if kind < 0.72:
            yield _addition(rng, held_out)
        elif kind < 0.85:
            b = rng.randint(1, 30)
            a = b + rng.randint(0, 60)
            question = rng.choice(
                ("What is {a} - {b}?", "{a} minus {b}?", "{a}-{b}", "What's {a} minus {b}?")
            )
            yield [question.format(a=a, b=b), f"{a} - {b} = {a - b}."]
        elif kind < 0.94:
            a, b = rng.randint(2, 10), rng.randint(2, 10)
            question = rng.choice(
                ("What is {a} x {b}?", "{a} times {b}?", "{a} * {b}", "How much is {a} times {b}?")
            )
            yield [question.format(a=a, b=b), f"{a} x {b} = {a * b}."]
        else:
            yield _word_problem(rng)


def _addition(rng: random.Random, held_out: set[tuple[int, int]]) -> Turns:
    while True:
        a, b = rng.randint(1, 99), rng.randint(1, 99)
        if rng.random() < 0.3:
            a, b = rng.randint(1, 20), rng.randint(1, 20)
        if (a, b) not in held_out and (b, a) not in held_out and a + b <= 120:
            break
    question = rng.choice(
        ("What is {a} + {b}?", "What's {a} plus {b}?", "{a} + {b}", "{a}+{b}=?", "Add {a} and {b}.",
         "How much is {a} plus {b}?", "calculate {a} + {b}")
    )  # fmt: skip
    return [question.format(a=a, b=b), f"{a} + {b} = {a + b}."]


def _word_problem(rng: random.Random) -> Turns:
    name = rng.choice(words.NAMES)
    thing = rng.choice(("apples", "books", "coins", "cups", "pens", "eggs", "cards"))
    a, b = rng.randint(5, 20), rng.randint(1, 5)
    if rng.random() < 0.5:
        return [
            f"{name} has {a} {thing} and gets {b} more. How many?",
            f"{name} has {a + b} {thing}.",
        ]
    return [
        f"{name} has {a} {thing} and gives away {b}. How many are left?",
        f"{a - b} {thing} are left.",
    ]


def capitals(rng: random.Random, rounds: int) -> Iterator[Turns]:
    """The capital of each country in several wordings, and the country of a capital."""
    asks = ("What is the capital of {c}?", "capital of {c}?", "Which city is the capital of {c}?",
            "What's the capital city of {c}?", "Tell me the capital of {c}.",
            "What is the capital of {c}?", "what's {c}'s capital", "{c}: capital?",
            "Do you know the capital of {c}?", "Name the capital of {c}.",
            "capital city of {c} please")  # fmt: skip
    for _ in range(rounds):
        for country, city in words.CAPITALS.items():
            if rng.random() < 0.15:
                yield [
                    f"Which country has the capital {city}?",
                    f"{city} is the capital of {country}.",
                ]
            else:
                stop = "" if city.endswith(".") else "."
                yield [
                    rng.choice(asks).format(c=country),
                    f"The capital of {country} is {city}{stop}",
                ]


def translations(rng: random.Random) -> Iterator[Turns]:
    for english, others in words.TRANSLATIONS.items():
        bare = english.rstrip("?")
        for language, word in zip(words.LANGUAGES, others, strict=True):
            ask = rng.choice(
                ("Translate to {l}: {e}", "What is \"{e}\" in {l}?", "How do you say {e} in {l}?",
                 "Translate \"{e}\" to {l}.", "{e} in {l}?")
            )  # fmt: skip
            english_text = bare if ask.startswith(("How", "{e}")) else english
            reply = rng.choice(('"{e}" in {l} is "{w}".', "{w}", '"{w}".'))
            yield [
                ask.format(l=language, e=english_text),
                reply.format(l=language, e=english, w=word),
            ]


INTRODUCTIONS = (
    ("My name is {n}.", "Nice to meet you, {n}!"),
    ("I'm {n}.", "Hello {n}, nice to meet you!"),
    ("Hi, I'm {n}!", "Hi {n}! How can I help you?"),
    ("Hello, my name is {n}.", "Hello {n}! What can I do for you?"),
    ("hi my name is {n}", "Hi {n}, nice to meet you!"),
    ("You can call me {n}.", "All right, {n}!"),
    ("This is {n} speaking.", "Hello {n}! How can I help?"),
    ("Hey, it's {n}", "Hey {n}! Good to see you."),
    ("I am {n} from sales.", "Hello {n}! What can I do for you?"),
    ("{n} here. I'm new in the team.", "Welcome to the team, {n}!"),
)
NAME_QUESTIONS = (
    ("What is my name?", "Your name is {n}."),
    ("What's my name?", "Your name is {n}."),
    ("what is my name", "Your name is {n}."),
    ("Do you remember my name?", "Yes, your name is {n}."),
    ("Who am I?", "You are {n}."),
    ("Do you know my name?", "Yes, you are {n}."),
    ("What did I say my name was?", "You said your name is {n}."),
    ("How am I called?", "You are called {n}."),
    ("What am I called?", "You are called {n}."),
    ("Can you tell me my name?", "Yes, your name is {n}."),
    ("Remind me, what's my name?", "Your name is {n}."),
)


def names(rng: random.Random, small: list[Turns], count: int) -> Iterator[Turns]:
    """A user says a name, mentions up to three other things, and asks for the name."""
    pool = list(words.NAMES)
    for index in range(count):
        name = pool[index % len(pool)]
        hello, reply = rng.choice(INTRODUCTIONS)
        question, answer = rng.choice(NAME_QUESTIONS)
        turns = [hello.format(n=name), reply.format(n=name)]
        for _ in range(rng.choice((0, 1, 1, 1, 2, 2, 3))):
            turns += rng.choice(small)
        yield [*turns, question, answer.format(n=name)]


def memories(rng: random.Random, small: list[Turns], count: int) -> Iterator[Turns]:
    """Like `names`, for pets, cities, jobs, dates and code words, sometimes two at once."""
    for index in range(count):
        said, reply, questions, answer, values = words.MEMORIES[index % len(words.MEMORIES)]
        value, second = rng.choice(values), rng.choice(words.SECONDS)
        turns = [said.format(x=value, y=second), _capital(reply.format(x=value))]
        for _ in range(rng.choice((0, 1, 1, 2))):
            turns += rng.choice(small)
        if rng.random() < 0.3:
            other = words.MEMORIES[(index + rng.randint(1, 5)) % len(words.MEMORIES)]
            thing = rng.choice(other[4])
            turns += [
                other[0].format(x=thing, y=rng.choice(words.SECONDS)),
                _capital(other[1].format(x=thing)),
            ]
        yield [*turns, rng.choice(questions), answer.format(x=value, y=second)]


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


PICTURES = ("chart.png", "photo.jpg", "screenshot.png", "IMG_2041.jpg", "cat.jpeg", "plan.pdf.png",
            "image.png", "receipt.jpg", "whiteboard.jpg", "graph.webp", "team.png", "error.png",
            "logo.gif", "menu.jpg", "map.png", "dog.jpg", "sketch.png", "table.png")  # fmt: skip
PICTURE_QUESTIONS = (
    "What is in this picture?", "what do you see?", "Can you describe this?", "What does it say?",
    "Read this for me", "Who is this?", "What does the chart show?", "Is this correct?", "look!",
    "What colour is it?", "Please summarise this.", "What is the error here?", "what's this",
    "How many people are there?", "Can you explain this graph?", "nice, isn't it?", "",
    "What is the password?", "Do you like it?", "translate the text please",
)  # fmt: skip
PICTURE_REPLIES = (
    "I can't see that picture, sorry: only its name reached me. I do see colours and simple shapes "
    "when a picture comes through.",
    "Sorry, I can't see it: I got only its name. Could you send it again?",
    "I can't look at it, only the file's name is here. What does it show?",
    "That picture did not reach me, so I can't say. In any case I only make out colours and simple "
    "shapes, not photographs.",
)


def pictures(rng: random.Random, count: int) -> Iterator[Turns]:
    """A picture given only as a line of text, about which the model says it can't see it."""
    for index in range(count):
        question = PICTURE_QUESTIONS[index % len(PICTURE_QUESTIONS)]
        lines = [f"[image: {rng.choice(PICTURES)}]" for _ in range(rng.choice((1, 1, 1, 2)))]
        if question:
            lines.insert(len(lines) if rng.random() < 0.7 else 0, question)
        yield ["\n".join(lines), rng.choice(PICTURE_REPLIES)]


def shared_threads(rng: random.Random, small: list[Turns], count: int) -> Iterator[Turns]:
    """Several people in one thread; every user text starts with the speaker's name."""
    for _ in range(count):
        first, second = rng.sample(words.NAMES, 2)
        kind = rng.random()
        if kind < 0.38:
            question, reply = rng.choice(small)
            other, answer = rng.choice(small)
            yield [f"{first}: {question}", reply, f"{second}: {other}", answer]
        elif kind < 0.5:
            question, reply = rng.choice(small)
            hello = rng.choice(("hi", "morning everyone", "hey bot", "hello", "is anyone here?"))
            yield [f"{second}: {hello}\n{first}: {question}", reply]
        elif kind < 0.68:
            yield _who(rng, first, second)
        else:
            said, _reply, _questions, _answer, values = rng.choice(words.MEMORIES[:14])
            text = said.format(x=rng.choice(values))
            yield [
                f"{first}: {text}",
                f"Thanks, {first}!",
                f"{second}: what did {first} say?",
                f'{first} said: "{text}"',
            ]


def _who(rng: random.Random, first: str, second: str) -> Turns:
    hello = rng.choice(("hi", "hello everyone", "hey all", "good morning"))
    question, answer = rng.choice(
        (("who am I?", "You are {s}."), ("what's my name?", "Your name is {s}."),
         ("who said hello first?", "{f} did."), ("who is here?", "{f} and you, {s}."))
    )  # fmt: skip
    return [
        f"{first}: {hello}",
        f"Hi {first}!",
        f"{second}: {question}",
        answer.format(f=first, s=second),
    ]
