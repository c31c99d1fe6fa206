"""Every code that a problem may carry: the rules' and the kinds of fault. For the docs, SARIF and `explain`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from runner.spec.kinds import every_rule


@dataclass(frozen=True)
class Code:
    """One code: what must hold, why it is asked for, and what to do."""

    code: str
    title: str
    reason: str
    fix: str

    @property
    def anchor(self) -> str:
        """The place in `docs/rules.md` that describes it."""
        return self.code.lower()


FAULTS: tuple[Code, ...] = (
    Code(
        "file",
        "a spec must be a file that can be read",
        "It is missing, is a folder, a device or a pipe, is longer than 1 MiB, or its permissions keep you out. With "
        "`--untrusted` it may also lie outside the folder that files are read from.",
        "check the name and the permissions",
    ),
    Code(
        "too-many",
        "at most 200 problems are listed",
        "Nobody reads more, and a file with so many is seldom meant as a spec.",
        "mend those that are listed, then check again",
    ),
    Code(
        "yaml",
        "a spec must be one YAML document: a mapping, in UTF-8, of at most 1 MiB and 50 levels",
        "Tags, merge keys (`<<`), several documents and keys that are no text are refused too: a spec "
        "never needs them, and each has been read differently by different tools.",
        "mend the place named; indent with spaces; quote a text that holds `: ` or ` #`",
    ),
    Code(
        "duplicate-key",
        "a key must stand once in its section",
        "YAML readers keep the last one and drop the others without a word.",
        "keep the one you mean",
    ),
    Code(
        "alias",
        "an alias must name an anchor above it, and a file must stand for at most 50,000 values",
        "A few lines of aliases of aliases can stand for billions of values.",
        "write fewer aliases, or use `extends`",
    ),
    Code(
        "extends",
        "`extends` must name one or more files beside the spec, without a circle",
        "The named files are read first and this one is laid over them, key by key.",
        "mend the name, or take the link out that closes the circle",
    ),
    Code(
        "set",
        "`--set` must be path=value, and none may make an earlier one void",
        "The value is read by the same rules and passes the same checks as the file. Of two for one key the first would be "
        "dropped without a word.",
        "write for example --set train.epochs=1, once",
    ),
    Code(
        "env",
        "`${env:NAME}` must be set or have a default, be no secret, and stand where its value is read",
        "A run must not start with a value missing. Secrets have no place in a spec, since everything of "
        "it is stored with the run; the engines read HF_TOKEN, WANDB_API_KEY and the like by themselves. Text "
        "keeps its placeholder until a stage reads it, so text that anything else reads or stores takes none.",
        "set the variable, write ${env:NAME:-default}, or write the value out",
    ),
    Code(
        "secret",
        "a spec must hold no tokens or keys",
        "The spec is stored with every run, in the report's folder and often in git.",
        "take it out, make it invalid where it came from, and set the variable that the engine reads (HF_TOKEN, "
        "WANDB_API_KEY, ...)",
    ),
    Code(
        "unknown-key",
        "every key must be one that the spec knows",
        "A key that is ignored is a run that nobody asked for.",
        "take the nearest key, or remove it; raw engine keys go under `axolotl:` or `deepspeed:`",
    ),
    Code(
        "missing-key",
        "a required key must be given",
        "There is no default that would be right for everybody.",
        "add the key; `runner explain KEY` says what it means",
    ),
    Code(
        "wrong-type",
        "a value must be of the type of its key",
        "Nothing is converted silently: the text '2e-4' is no number, and 8.0 is no count.",
        "remove or add quotes, or write the value in the form that the message names",
    ),
    Code(
        "bad-value",
        "a value must be one of those allowed, and within its bounds",
        "A value outside fails later, or trains something else.",
        "take one of the allowed values",
    ),
    Code(
        "sweep",
        "a sweep must have at least 1 arm and at most 200, each with a name of its own, its control among them",
        "Each arm is a run of its own; the product of a few axes is soon more than anybody meant.",
        "give fewer values or axes, or list the arms by name",
    ),
    Code(
        "engine-key",
        "a key under `axolotl:` or `deepspeed:` must be one that the engine declares",
        "Axolotl drops keys that it does not know without a word; a `learning_rte` trains with the default.",
        "take the nearest key",
    ),
    Code(
        "engine-type",
        "a value under `axolotl:` or `deepspeed:` must be of the type that the engine declares",
        "The engine would refuse it after the model was loaded, or convert it.",
        "write the value in the form that the message names",
    ),
    Code(
        "engine-reserved",
        "what the spec has a word for must not be given under `axolotl:` or `deepspeed:`",
        "Two places for one value can contradict each other, and the plan would show the wrong one.",
        "use the spec's own key, which the message names",
    ),
    Code(
        "harness-task",
        "a task of lm-eval must be one that the harness has",
        "A name that is not known ends the run when it is first evaluated.",
        "take the nearest name, or give the folder of your own task files under `include`",
    ),
    Code(
        "module-group",
        "a module group must exist in the architecture",
        "A group that matches nothing trains nothing.",
        "take a group that the architecture has, or give `method.modules`",
    ),
)
"""The kinds of fault that are no rule between fields."""

CODES: Mapping[str, Code] = MappingProxyType(
    {
        **{fault.code: fault for fault in FAULTS},
        **{rule.code: Code(rule.code, rule.title, rule.reason, rule.fix) for rule in every_rule()},
    }
)
"""Code -> what it means."""
