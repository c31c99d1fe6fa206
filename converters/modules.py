r"""Module groups -> exact regular expressions over module and parameter names, per architecture.

Pure. Names checked against transformers 5.16.1 (models built on the meta device, tests/converters).

Two readers, two dialects:

- PEFT takes `lora_target_modules` as text and applies `re.fullmatch` to each module name: an
  ordinary regular expression, dots escaped, nothing found by suffix in a tower it does not mean.
- Axolotl 0.19.0 takes `unfrozen_parameters` as patterns (utils/freeze.py, LayerNamePattern): it
  puts a backslash before every dot that no `+` follows, then applies `re.match`; a pattern that
  ends in `[3]` or `[:3]` is a range of rows. So these patterns carry bare dots, `^` and `$`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from converters.raw_problem import ConvertError, RawProblem
from runner.spec.model import LlmSpec, LoraCommon, ModuleGroup, Partial

GROUPS: tuple[ModuleGroup, ...] = ("language.attention", "language.mlp", "lm_head", "embeddings")


@dataclass(frozen=True)
class Architecture:
    """Where the groups of one architecture are. Names are those of the causal language model."""

    layers: str
    """Name of the list of layers."""
    attention: tuple[str, ...]
    """Modules of the attention in one layer, relative to it."""
    mlp: tuple[str, ...]
    """Modules of the feed-forward part in one layer, relative to it."""
    embeddings: str
    """The token embeddings."""
    lm_head: str | None
    """The output layer; None where it is always the same weight as the token embeddings."""
    conv1d: bool = False
    """Whether the layers are `Conv1D`, which hold their weight transposed (PEFT: fan_in_fan_out)."""

    def module_regex(self, group: ModuleGroup) -> str | None:
        """Return the expression over whole module names of `group`; None where it has none."""
        if group == "lm_head":
            return None if self.lm_head is None else re.escape(self.lm_head)
        if group == "embeddings":
            return re.escape(self.embeddings)
        names = self.attention if group == "language.attention" else self.mlp
        parent, leaves = _parent(names)
        return rf"{re.escape(self.layers)}\.\d+\.{re.escape(parent)}\.({'|'.join(leaves)})"

    def parameter_pattern(self, group: ModuleGroup) -> str | None:
        """Return Axolotl's pattern over the parameter names of `group`; None where it has none."""
        if group == "lm_head":
            return None if self.lm_head is None else f"^{self.lm_head}.(weight|bias)$"
        if group == "embeddings":
            return f"^{self.embeddings}.weight$"
        names = self.attention if group == "language.attention" else self.mlp
        parent, leaves = _parent(names)
        # Without the norms inside an attention block (q_norm, k_norm): the group is its projections.
        return f"^{self.layers}.[0-9]+.{parent}.({'|'.join(leaves)}).(weight|bias)$"


def _parent(names: tuple[str, ...]) -> tuple[str, list[str]]:
    parents = {name.rpartition(".")[0] for name in names}
    return parents.pop(), [name.rpartition(".")[2] for name in names]


_QKVO = tuple(f"self_attn.{name}_proj" for name in "qkvo")
_GATED = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")


def _llama_like(prefix: str = "model", *, tied: bool = False) -> Architecture:
    head = None if tied else "lm_head"
    return Architecture(f"{prefix}.layers", _QKVO, _GATED, f"{prefix}.embed_tokens", head)


ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        "gpt2": Architecture(
            "transformer.h",
            ("attn.c_attn", "attn.c_proj"),
            ("mlp.c_fc", "mlp.c_proj"),
            "transformer.wte",
            None,
            conv1d=True,
        ),
        "llama": _llama_like(),
        "mistral": _llama_like(),
        "qwen2": _llama_like(),
        "qwen3": _llama_like(),
        "gemma2": _llama_like(tied=True),
        "gemma3_text": _llama_like(tied=True),
        "gemma3": _llama_like("model.language_model", tied=True),
        "phi3": Architecture(
            "model.layers",
            ("self_attn.qkv_proj", "self_attn.o_proj"),
            ("mlp.gate_up_proj", "mlp.down_proj"),
            "model.embed_tokens",
            "lm_head",
        ),
    }
)
"""Hugging Face `model_type` -> its groups. `lm_head` of a Llama or Qwen may be tied as well: that is
known only from its config, so the engine's proof of what was trained decides."""


def group_problems(spec: LlmSpec) -> tuple[RawProblem, ...]:
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


def lora_groups(spec: LlmSpec) -> tuple[ModuleGroup, ...]:
    """Return the groups that get an adapter, in the order of `GROUPS`; none for a regex or no LoRA."""
    method = spec.method
    if not isinstance(method, LoraCommon) or method.modules is not None:
        return ()
    return tuple(group for group in GROUPS if group in method.include and group not in method.exclude)


def lora_modules(spec: LlmSpec) -> str:
    """Return the regular expression over whole module names that get an adapter.

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


def group_regexes(spec: LlmSpec) -> dict[str, str]:
    """Return group -> expression over whole module names, for the groups that the method names.

    Raises:
        ConvertError: `group_problems` finds something.
    """
    _refuse(spec)
    method = spec.method
    groups = method.include if isinstance(method, Partial) else lora_groups(spec)
    if not groups:
        return {}
    architecture = ARCHITECTURES[spec.model.architecture]
    regexes = {group: architecture.module_regex(group) for group in GROUPS if group in groups}
    return {group: regex for group, regex in regexes.items() if regex is not None}


def unfrozen_parameters(spec: LlmSpec) -> list[str]:
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
        if architecture is not None and group in method.include
        if (pattern := architecture.parameter_pattern(group)) is not None
    ]
    return patterns + [anchored(pattern) for pattern in method.parameters]


def fully_trained(spec: LlmSpec) -> list[str]:
    """Return the names of the modules that a LoRA method trains in full beside its adapters.

    Raises:
        ConvertError: `group_problems` finds something.
    """
    method = spec.method
    if not isinstance(method, LoraCommon) or not method.train_fully:
        return []
    _refuse(spec)
    architecture = ARCHITECTURES[spec.model.architecture]
    names = {"lm_head": architecture.lm_head, "embeddings": architecture.embeddings}
    # PEFT matches modules_to_save by suffix; the last part is enough and lies in no other tower.
    return [name.rpartition(".")[2] for group, name in names.items() if group in method.train_fully and name]


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


def _refuse(spec: LlmSpec) -> None:
    problems = group_problems(spec)
    if problems:
        raise ConvertError(problems)


def _problem(path: tuple[str | int, ...], message: str, hint: str) -> RawProblem:
    return RawProblem(path, "module-group", message, hint)


def _lora_problems(spec: LlmSpec, method: LoraCommon) -> list[RawProblem]:
    problems = _group_problems(spec, ("method", "train_fully"), method.train_fully)
    if method.modules is None:
        return problems + _group_problems(spec, ("method", "include"), lora_groups(spec))
    if method.modules.lower() == "all-linear":
        # PEFT reads this word as "every linear layer", the output layer and other towers included.
        message = "'all-linear' is a word of PEFT, not a regular expression"
        hint = "name the groups under `include`, or write an expression over whole module names"
        problems.append(_problem(("method", "modules"), message, hint))
    return problems


def _group_problems(
    spec: LlmSpec, path: tuple[str | int, ...], groups: tuple[ModuleGroup, ...]
) -> list[RawProblem]:
    name = spec.model.architecture
    architecture = ARCHITECTURES.get(name)
    if groups and architecture is None:
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
        _problem(
            path,
            f"group {group!r} matches nothing: {name} has one weight for its output layer and its embeddings",
            "name `embeddings` instead",
        )
        for group in groups
        if architecture is not None and architecture.module_regex(group) is None
    ]
