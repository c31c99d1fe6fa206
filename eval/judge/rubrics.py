"""What a judge is asked, and how its answer is read: one rubric a data file beside this module.

A judge is given text only: the reference and the candidate. An answer counts only whole: every aspect
with a number within the scale. Anything else is a bad answer and never a mean over fewer aspects.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

RUBRICS = ("ecg_report_100", "pulse_report_10", "pulse_arena_10")
"""Names of the rubrics. Their scores answer different questions and never share a metric's name."""

MOST_READ = 20_000
"""Characters of a judge's answer that are looked at; the objects asked for have some hundred."""

_FENCE = re.compile(r"\A\s*```(?:json)?\s*\n(?P<inside>.*?)\n?\s*```\s*\Z", re.DOTALL)


class BadReplyError(ValueError):
    """A judge's answer is not what was asked for; the message says in what."""


@dataclass(frozen=True)
class Aspect:
    """One thing that is graded."""

    name: str
    """As published; the key of the judge's answer."""
    key: str
    """The end of the metric's name."""
    asks: str


@dataclass(frozen=True)
class Rubric:
    """A set of aspects with one scale and one prompt."""

    name: str
    version: int
    source: str
    differs: str
    """In what the score differs from the published one."""
    lowest: float
    highest: float
    factor: float
    """What the mean over the aspects is multiplied by to be the record's score."""
    aspects: tuple[Aspect, ...]
    overall: Aspect | None
    """Where the judge itself gives one number over all aspects, which is then the record's score."""
    instructions: str

    @property
    def graded(self) -> tuple[Aspect, ...]:
        """Everything that the judge gives a number for."""
        return self.aspects if self.overall is None else (*self.aspects, self.overall)

    @property
    def prompt(self) -> str:
        """The system message."""
        asked = "\n".join(f"- {aspect.name}: {aspect.asks}" for aspect in self.graded)
        form = ", ".join(f"{json.dumps(aspect.name)}: <number>" for aspect in self.graded)
        return self.instructions.format(
            lowest=f"{self.lowest:g}", highest=f"{self.highest:g}", aspects=asked, form=f"{{{form}}}"
        )

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of a judge's answer: all aspects, nothing else, numbers within the scale."""
        number = {"type": "number", "minimum": self.lowest, "maximum": self.highest}
        names = [aspect.name for aspect in self.graded]
        return {
            "type": "object",
            "properties": dict.fromkeys(names, number),
            "required": names,
            "additionalProperties": False,
        }

    @property
    def prompt_sha256(self) -> str:
        """The hash of everything that asks: name, version, prompt and schema."""
        asked = [self.name, self.version, self.prompt, self.schema]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()

    def messages(self, reference: str, answer: str) -> list[dict[str, str]]:
        """Return what the judge is sent. The texts stand inside JSON strings, which they cannot leave."""
        texts = {"reference": reference, "candidate": answer}
        return [
            {"role": "system", "content": self.prompt},
            {"role": "user", "content": json.dumps(texts, ensure_ascii=False)},
        ]

    def read(self, reply: str) -> dict[str, float]:
        """Return key -> number for everything graded.

        A fence of three backticks around the whole answer is taken off; nothing else is mended.

        Raises:
            BadReplyError: no JSON object, a key twice, an aspect missing or too many, no number, or one
                outside the scale.
        """
        value = _json_of(reply)
        try:
            error = _first_error(self.schema, value)
        except RecursionError:  # what is wrong cannot even be printed
            raise BadReplyError("nested too deeply") from None
        if error:
            raise BadReplyError(error)
        return {aspect.key: float(value[aspect.name]) for aspect in self.graded}

    def score(self, grades: Mapping[str, float]) -> float:
        """Return a record's score, between `lowest_score` and the same with the highest.

        >>> rubric("pulse_report_10").score({"diagnosis": 6, "waveform": 7, "rhythm": 8})
        70.0
        """
        if self.overall is not None:
            return grades[self.overall.key]
        return self.factor * sum(grades[aspect.key] for aspect in self.aspects) / len(self.aspects)

    @property
    def lowest_score(self) -> float:
        """The lowest score that a record can get."""
        return self.lowest if self.overall is not None else self.factor * self.lowest


@cache
def rubric(name: str) -> Rubric:
    """Return a rubric by its name.

    Raises:
        ValueError: there is none of this name.
    """
    if name not in RUBRICS:
        raise ValueError(f"no rubric {name!r}; allowed: {', '.join(RUBRICS)}")
    text = (Path(__file__).parent / f"{name}.yaml").read_text(encoding="utf-8")
    data = yaml.safe_load(text)
    overall = data.get("overall")
    return Rubric(
        name=data["name"],
        version=data["version"],
        source=data["source"],
        differs=data["differs"],
        lowest=float(data["lowest"]),
        highest=float(data["highest"]),
        factor=float(data.get("factor", 1)),
        aspects=tuple(Aspect(**aspect) for aspect in data["aspects"]),
        overall=None if overall is None else Aspect(**overall),
        instructions=data["instructions"],
    )


def _json_of(reply: str) -> Any:
    if len(reply) > MOST_READ:
        raise BadReplyError(f"{len(reply)} characters; an answer has at most {MOST_READ}")
    fenced = _FENCE.match(reply)
    try:
        return json.loads(
            fenced["inside"] if fenced else reply, object_pairs_hook=_once, parse_constant=_no_constant
        )
    except BadReplyError:
        raise
    except (ValueError, RecursionError) as error:
        raise BadReplyError(f"no JSON: {error}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise BadReplyError("a key stands twice")
    return found


def _no_constant(word: str) -> Any:
    raise BadReplyError(f"{word} is no number that can be used")


def _first_error(schema: Mapping[str, Any], value: Any) -> str | None:
    """Return what is wrong first, in words; None where nothing is."""
    errors = sorted(Draft202012Validator(schema).iter_errors(value), key=lambda e: list(map(str, e.path)))
    if not errors:
        return None
    place = ".".join(map(str, errors[0].path))
    return f"{place}: {errors[0].message}" if place else str(errors[0].message)
