"""Invented medical questions with consistent answers: for trying things out, not for medicine.

Every disease, drug, germ, sign and test is made up. The facts follow the name, so that they can be
learnt from some diseases and asked about others: the first syllable decides drug and germ, the
ending decides organ, sign, test and duration. Each fact is asked in two ways.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

from converters.records.record import Record

FIRST = ("Bor", "Dax", "Fim", "Gul", "Hev", "Jop", "Kez", "Lum", "Miv", "Nax", "Quol", "Zeb")
MIDDLE = ("ba", "ce", "di", "fo", "gu", "ha", "ji", "ke", "lo", "mu", "na", "pe", "ri", "so", "tu", "va", "wi", "xe", "yo", "zu")  # fmt: skip
ENDING = ("grunth", "lask", "mirv", "nopf", "plend", "quist", "sorv", "twimp", "vorn", "zelt")
DRUGS = ("zumquorin", "hablovex", "trimpadol", "yoskarin", "velquapam", "dribozan", "plokumab", "ximbutol", "gwenafil", "morvatrex", "jundipine", "fazzicillin")  # fmt: skip
GERMS = ("Arvix", "Belmo", "Crund", "Drasp", "Embro", "Frull", "Grenk", "Hulph", "Irvox", "Jaspo", "Klemf", "Lorch")  # fmt: skip
ORGANS = ("kidney", "liver", "skin", "lung", "heart", "ear", "eye", "knee", "stomach", "nose")
SIGNS = ("blue flimmer", "night twang", "cold prickling", "soft rattling", "green tint", "slow blinking", "warm hum", "dry sparkle", "left wobble", "grey echo")  # fmt: skip
TESTS = ("arm mirror", "breath scale", "salt drop", "finger lamp", "paper strip", "drum", "feather", "chalk", "ice ring", "bell")  # fmt: skip
WEEKS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve")
TIMES = ("once", "twice", "three times", "four times")

FORMS = (  # question, answer; a disease gets every third of them, so the two ways to ask are far apart
    ("What is {disease}?", "{disease} is a disease of the {organ}."),
    ("Which drug treats {disease}?", "{disease} is treated with {drug}."),
    ("How is {disease} noticed?", "{disease} is noticed by a {sign}."),
    ("What causes {disease}?", "{disease} is caused by the germ {germ}."),
    ("Which test shows {disease}?", "The {test} test shows {disease}."),
    ("How long does {disease} last?", "{disease} lasts {weeks} weeks."),
    ("Which organ does {disease} affect?", "{disease} affects the {organ}."),
    ("What is the treatment of {disease}?", "The treatment of {disease} is {drug}."),
    ("What is the sign of {disease}?", "The sign of {disease} is a {sign}."),
    ("Which germ is behind {disease}?", "The germ {germ} is behind {disease}."),
    ("How is {disease} found?", "{disease} is found with the {test} test."),
    (
        "How often is the drug for {disease} taken?",
        "The drug for {disease} is {drug}; it is taken {times} a day.",
    ),
)
PER_DISEASE = 4
_STEP = len(FORMS) // PER_DISEASE

SHORT_NAMES = len(FIRST) * len(MIDDLE) * len(ENDING)
CAPACITY = PER_DISEASE * SHORT_NAMES * (1 + len(MIDDLE))
"""How many distinct questions there are: 201,600, the first 9,600 about short names."""


@dataclass(frozen=True)
class World:
    """The diseases of one seed, in order, and what each syllable means there."""

    diseases: tuple[tuple[str, str, str], ...]
    """First syllable, middle, ending."""
    by_first: Mapping[str, Mapping[str, str]]
    by_ending: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Question:
    """The question with this number in a world."""

    number: int
    world: World

    @property
    def place(self) -> str:
        """`synthetic question N`."""
        return f"synthetic question {self.number}"

    @property
    def part(self) -> str:
        """All questions are one part."""
        return "synthetic"


def make_world(records: int, seed: int) -> World:
    """Return the world of `seed` with as many diseases as `records` questions need.

    More records of the same seed go on where fewer stopped. Up to `CAPACITY` records.
    """
    rng = random.Random(seed)
    columns = [rng.sample(values, len(values)) for values in (DRUGS, GERMS, ORGANS, SIGNS, TESTS, WEEKS)]
    drugs, germs, organs, signs, tests, weeks = columns
    times = {drug: rng.choice(TIMES) for drug in DRUGS}
    diseases = list(product(FIRST, MIDDLE, ENDING))
    rng.shuffle(diseases)
    needed = -(-records // PER_DISEASE)
    if needed > len(diseases):
        longer = [(first, a + b, end) for first, a, b, end in product(FIRST, MIDDLE, MIDDLE, ENDING)]
        rng.shuffle(longer)
        diseases += longer
    return World(
        diseases=tuple(diseases[:needed]),
        by_first={
            first: {"drug": drug, "germ": germ, "times": times[drug]}
            for first, drug, germ in zip(FIRST, drugs, germs, strict=True)
        },
        by_ending={
            ending: {"organ": organ, "sign": sign, "test": test, "weeks": week}
            for ending, organ, sign, test, week in zip(ENDING, organs, signs, tests, weeks, strict=True)
        },
    )


def to_record(raw: Question) -> Record:
    """Return the record of one question; group and focus are the invented disease.

    >>> to_record(Question(1, make_world(10, seed=0)))["question"]
    'What causes Naxbasorv?'
    """
    which, turn = divmod(raw.number, PER_DISEASE)
    first, middle, ending = raw.world.diseases[which]
    disease = first + middle + ending
    facts = {"disease": disease, **raw.world.by_first[first], **raw.world.by_ending[ending]}
    question, answer = (text.format(**facts) for text in FORMS[turn * _STEP + which % _STEP])
    return {
        "id": f"synthetic/{raw.number:06d}",
        "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}],
        "group": disease,
        "question": question,
        "focus": disease,
        "source": "synthetic_medical_qa",
    }
