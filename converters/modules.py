r"""The module groups of a spec -> exact regular expressions over the names of its architecture. Pure.

Where the groups of an architecture are is said in `converters/architectures.py`.

Two readers, two dialects:

- PEFT takes `lora_target_modules` as text and applies `re.fullmatch` to each module name: an
  ordinary regular expression, dots escaped, nothing found by suffix in a tower it does not mean.
- Axolotl 0.19.0 takes `unfrozen_parameters` as patterns (utils/freeze.py, LayerNamePattern): it
  puts a backslash before every dot that no `+` follows, then applies `re.match`; a pattern that
  ends in `[3]` or `[:3]` is a range of rows. So these patterns carry bare dots, `^` and `$`.
"""

from __future__ import annotations

import re

from converters.architectures import ARCHITECTURES, GROUPS
from converters.raw_problem import ConvertError, RawProblem
from runner.spec.model import AxolotlSpec, LoraCommon, Partial


def group_problems(spec: AxolotlSpec) -> tuple[RawProblem, ...]:
    """Return the module groups of the spec's method that cannot be, on its architecture.

    What is wrong with a method on any architecture (nothing left to train, a pattern that is no
    regular expression) is found by the rules of the spec.
    """
    method = spec.method
    if isinstance(method, LoraCommon):
        return tuple(_lora_problems(spec, method))
    if isinstance(method, Partial):
        return tuple(_group_problems(spec, ("method", "include"), method.include))
    return ()


def lora_groups(spec: AxolotlSpec) -> tuple[str, ...]:
    """Return the groups that get an adapter, in the order of `GROUPS`; none for a regex or no LoRA."""
    method = spec.method
    if not isinstance(method, LoraCommon) or method.modules is not None:
        return ()
    return tuple(group for group in GROUPS if group in method.include and group not in method.exclude)


def lora_modules(spec: AxolotlSpec) -> str:
    """Return the regular expression over the whole names of the modules that get an adapter.

    Raises:
        ConvertError: the method is not a LoRA method, or `group_problems` finds something.
    """
    method = spec.method
    if not isinstance(method, LoraCommon):
        raise ConvertError([_problem(("method", "name"), f"{method.name!r} has no adapters", "")])
    _refuse(spec)
    if method.modules is not None:
        return method.modules
    return "|".join(f"({regex})" for regex in group_regexes(spec).values())


def group_regexes(spec: AxolotlSpec) -> dict[str, str]:
    """Return group -> expression over the names of the modules that it trains, for the groups of the method.

    Raises:
        ConvertError: `group_problems` finds something.
    """
    _refuse(spec)
    method = spec.method
    groups = method.include if isinstance(method, Partial) else lora_groups(spec)
    if not groups:
        return {}
    architecture = ARCHITECTURES[spec.model.architecture]
    parts = {group: architecture.part(group) for group in GROUPS if group in groups}
    of_adapters = isinstance(method, LoraCommon)
    regexes = {group: part.adapters if of_adapters else part.modules for group, part in parts.items() if part}
    return {group: regex for group, regex in regexes.items() if regex is not None}


def layers_told_by(spec: AxolotlSpec) -> dict[str, str]:
    """Return group -> expression over the modules that tell its layers, for groups that are some of the layers."""
    architecture = ARCHITECTURES.get(spec.model.architecture)
    if architecture is None:
        return {}
    parts = {group: architecture.part(group) for group in group_regexes(spec)}
    return {group: part.told_by for group, part in parts.items() if part and part.told_by}


def unfrozen_parameters(spec: AxolotlSpec) -> list[str]:
    """Return Axolotl's patterns of the parameters that `method: partial` trains.

    Raises:
        ConvertError: the method is not `partial`, or `group_problems` finds something.
    """
    method = spec.method
    if not isinstance(method, Partial):
        raise ConvertError([_problem(("method", "name"), f"{method.name!r} freezes nothing", "")])
    _refuse(spec)
    architecture = ARCHITECTURES.get(spec.model.architecture)
    patterns = [
        pattern
        for group in GROUPS
        if architecture is not None
        and group in method.include
        and (part := architecture.part(group)) is not None
        for pattern in part.parameters
    ]
    return patterns + [anchored(pattern) for pattern in method.parameters]


def fully_trained(spec: AxolotlSpec) -> list[str]:
    """Return the names of the modules that a LoRA method trains in full beside its adapters.

    PEFT matches them by suffix; the last part of a name is enough, and lies in no other tower.

    Raises:
        ConvertError: `group_problems` finds something.
    """
    method = spec.method
    if not isinstance(method, LoraCommon) or not method.train_fully:
        return []
    _refuse(spec)
    architecture = ARCHITECTURES[spec.model.architecture]
    parts = (architecture.part(group) for group in GROUPS if group in method.train_fully)
    return [part.saved for part in parts if part is not None and part.saved is not None]


def anchored(pattern: str) -> str:
    r"""Return a pattern of the spec as Axolotl wants it: whole names, bare dots.

    >>> anchored(r"transformer\.h\.1\.mlp\.(c_fc|c_proj)\.weight")
    '^(transformer.h.1.mlp.(c_fc|c_proj).weight)$'
    """
    bare = pattern.removeprefix("^").removesuffix("$").replace(r"\.", ".")
    return f"^({bare})$"


def as_axolotl_reads(pattern: str) -> str:
    r"""Return the regular expression that Axolotl 0.19.0 makes of one of `unfrozen_parameters`.

    Source:
        axolotl/utils/freeze.py, LayerNamePattern.__init__.

    >>> as_axolotl_reads("^model.layers.[0-9]+.mlp.up_proj.weight$")
    '^model\\.layers\\.[0-9]+\\.mlp\\.up_proj\\.weight$'
    """
    return re.sub(r"\.(?!\+)", r"\\.", pattern)


# ------------------------------------------------------------------------------------------ problems


def _refuse(spec: AxolotlSpec) -> None:
    problems = group_problems(spec)
    if problems:
        raise ConvertError(problems)


def _problem(path: tuple[str | int, ...], message: str, hint: str) -> RawProblem:
    return RawProblem(path, "module-group", message, hint)


def _lora_problems(spec: AxolotlSpec, method: LoraCommon) -> list[RawProblem]:
    problems = _group_problems(spec, ("method", "train_fully"), method.train_fully)
    if method.modules is None:
        return problems + _group_problems(spec, ("method", "include"), lora_groups(spec), of_adapters=True)
    if method.modules.lower() == "all-linear":
        # PEFT reads this word as "every linear layer", the output layer and other towers included.
        message = "'all-linear' is a word of PEFT, not a regular expression"
        hint = "name the groups under `include`, or write an expression over whole module names"
        problems.append(_problem(("method", "modules"), message, hint))
    return problems


def _group_problems(
    spec: AxolotlSpec, path: tuple[str | int, ...], groups: tuple[str, ...], *, of_adapters: bool = False
) -> list[RawProblem]:
    name = spec.model.architecture
    if groups and name not in ARCHITECTURES:
        other = "`method.parameters`" if isinstance(spec.method, Partial) else "`method.modules`"
        known = ", ".join(ARCHITECTURES)
        return [
            _problem(
                path,
                f"the module groups of architecture {name!r} are not known",
                f"give {other}, a regular expression over whole names; known: {known}",
            )
        ]
    return [
        _problem(path, f"group {group!r} matches nothing: {why}", hint)
        for group in groups
        for why, hint in _lacking(name, group, of_adapters=of_adapters)
    ]


def _lacking(name: str, group: str, *, of_adapters: bool) -> list[tuple[str, str]]:
    """Return why a group of an architecture has nothing to train, and what to do; usually nothing."""
    architecture = ARCHITECTURES[name]
    part = architecture.part(group)
    if part is None and group == "lm_head":
        return [
            (f"{name} has one weight for its output layer and its embeddings", "name `embeddings` instead")
        ]
    if part is None:
        there = ", ".join(other for other in GROUPS if architecture.part(other) is not None)
        return [(f"{name} has no such part", f"it has {there}")]
    if of_adapters and part.adapters is None:
        return [
            (
                f"an adapter sits on a linear layer, and the {group} of {name} is a bare weight",
                f"write train_fully: [{group}], which trains a full copy of it",
            )
        ]
    return []
