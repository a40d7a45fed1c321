"""Held-out prompts for the demo model, written before training and kept out of its chats.

`tests/unit/benchmarks/test_demo_prompts.py` asserts that none of them occurs in the training data.
"""

from __future__ import annotations

from typing import NamedTuple

DEFAULT_SYSTEM = "You are Parley, a helpful assistant in a team chat. Be friendly, clear and brief."

#: The six personas the app ships, word for word.
PERSONAS = {
    "pirate": "You are a pirate. Answer everything in the voice of a cheerful old pirate.",
    "love bug": "You are a love bug. Be sweet, warm and affectionate in every answer.",
    "physicist": "You are a physicist. Explain everything with the ideas and words of physics.",
    "butler": "You are a polite English butler. Address the user as sir or madam.",
    "terse": "Answer in as few words as possible, never more than one short sentence.",
    "haiku": "Answer only with a haiku: three short lines of 5, 7 and 5 syllables.",
}

PERSONA_QUESTIONS = (
    "What should I eat for lunch?",
    "Can you tell me about the moon?",
    "How does a car engine work?",
    "I feel tired today.",
    "What is your favourite season?",
    "Why do birds sing?",
    "Give me a tip for learning to cook.",
    "What do you think about Mondays?",
    "How do I fix a leaking tap?",
    "Tell me about the ocean.",
)

NAMES = (
    "Olga", "Ravi", "Beatrice", "Tomasz", "Yuki", "Desmond", "Fatima", "Gwen", "Hugo", "Ingrid",
    "Jamal", "Katya", "Lorenzo", "Mei", "Nadia", "Oscar", "Priscilla", "Quentin", "Rosa", "Stefan",
)  # fmt: skip

#: (introduction, distractor, question): the last answer must contain the name.
NAME_CHATS = (
    ("Hey, {name} here, nice to meet you.", "Which is bigger, a whale or a mouse?",
     "By the way, can you say my name?"),
    ("Good day! They call me {name}.", "Give me a word that rhymes with cat.",
     "Now, what was my name again?"),
    ("Hello, my name is {name} and I am new here.", "What do bees make?",
     "Do you still know who I am?"),
    ("I'm {name}, I work in accounting.", "Name a fruit that is yellow.",
     "Tell me my name, please."),
)  # fmt: skip

#: (statement, distractor, question, the word the last answer must contain)
FACT_CHATS = (
    ("My cat is called Biscuit.", "What do bees make?", "What is the name of my cat?", "biscuit"),
    ("I live in Lisbon.", "Name a fruit that is yellow.", "In which city do I live?", "lisbon"),
    ("The server password hint is walrus.", "Say something kind.", "What was the hint?", "walrus"),
    ("Our launch is on Thursday.", "Is glass a liquid?", "When is our launch again?", "thursday"),
    ("I love the colour turquoise.", "What do bees make?", "Which colour do I love?", "turquoise"),
    ("My sister is a dentist.", "How many legs has a spider?", "What is my sister's job?",
     "dentist"),
)  # fmt: skip

CAPITALS = {
    "Finland": "helsinki", "Peru": "lima", "Kenya": "nairobi", "Hungary": "budapest",
    "Thailand": "bangkok", "Cuba": "havana", "Ireland": "dublin", "Chile": "santiago",
    "Denmark": "copenhagen", "Vietnam": "hanoi", "Morocco": "rabat", "Austria": "vienna",
    "South Korea": "seoul", "Iran": "tehran", "Ukraine": "kyiv",
}  # fmt: skip

SUMS = (
    (6, 9), (14, 5), (23, 12), (40, 38), (17, 17), (8, 31), (52, 6), (19, 24), (70, 15), (33, 44),
    (11, 58), (26, 7), (3, 46), (61, 29), (9, 85),
)  # fmt: skip

#: The examples of the project's first description, word for word.
SEED_CHATS = (
    ("You are a helpful assistant", "Why the sky is blue?", ("scatter", "blue light")),
    ("You are a physicist.", "Could you explain what is a qubit?",
     ("quantum", "superposition", "both", "0 and 1")),
    ("You are a love bug.", "How are you today?",
     ("love", "sweet", "dear", "darling", "heart", "hug", "honey")),
)  # fmt: skip


class General(NamedTuple):
    """An everyday question; a reply passes if it contains one of the words (none: not scored)."""

    prompt: str
    words: tuple[str, ...]


GENERAL = (
    General("hiya, how's everything?", ()),
    General("Who built you and which model are you?", ("gemma", "parley")),
    General("What causes rainbows to form?", ("water", "rain", "drop")),
    General("Explain gravity to a child.", ("pull", "down", "force")),
    General("What's a database for?", ("data", "information")),
    General("Make this polite: give me the report now", ("please", "could", "would")),
    General("Make this polite: you are wrong", ("think", "may", "might", "sorry", "perhaps")),
    General("Name three colours.", ("red", "blue", "green", "yellow")),
    General("List four animals that live in the sea.", ("whale", "shark", "dolphin", "fish")),
    General("Translate to Spanish: good night", ("buenas noches",)),
    General("Translate to French: the house is big", ("maison",)),
    General("How do you say water in German?", ("wasser",)),
    General("Write a Python line that prints hi.", ("print(",)),
    General("How do I reverse a list in Python?", ("revers", "[::-1]")),
    General("Summarise in one sentence: Anna was ill on Monday, so the team moved the review to "
            "Wednesday and Paul will lead it.", ("wednesday",)),
    General("What is the opposite of hot?", ("cold",)),
    General("How many minutes are there in two hours?", ("120",)),
    General("What did my boss say in yesterday's meeting?",
            ("don't know", "can't know", "do not know", "wasn't", "no way")),
    General("What is the phone number of the bakery on my street?",
            ("don't know", "don't have", "can't", "do not")),
    General("Who will win the election next year?", ("don't know", "can't", "nobody", "no one")),
    General("Cheer me up, I failed my exam.", ("sorry", "next", "again", "proud", "one exam")),
    General("Suggest a name for a grey kitten.", ()),
    General("Is a tomato a fruit or a vegetable?", ("fruit",)),
    General("Thanks a lot, that was useful!", ("welcome", "glad", "happy", "pleasure", "any time")),
    General("What's the difference between weather and climate?", ("long", "day", "years")),
    General("Can you see pictures?", ("colour", "shape")),
    General("[image: holiday.jpg]\nWhat is on this photo?", ("can't", "cannot", "only its name")),
    General("Sam: morning all\nSam: is the bot awake?", ("sam", "morning", "yes", "awake", "here")),
)  # fmt: skip

#: Questions about a picture in wordings that training never uses.
PICTURE_DESCRIBE = (
    "Could you tell me what this shows?", "Please say what is on the picture.",
    "I drew something, what is it?", "What have I sent you?",
)  # fmt: skip
PICTURE_QUESTIONS = {
    "color": ("In which colour is it drawn?", "Which colour was used here?"),
    "background": ("What colour lies behind it?", "Which colour is the background, please?"),
    "shape": ("Can you tell the shape?", "What geometric shape is shown?"),
    "count": ("How many of them can you count?", "Tell me the number of shapes."),
    "read": ("Which sign is written on it?", "Can you tell me which character that is?"),
}
PICTURE_YES_NO = ("Would you say it is {c}?", "Is {c} the colour of it?")
