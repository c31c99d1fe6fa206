"""Chat templates: the word in the spec -> how Axolotl, the token audit and the evaluation render it.

Pure, but for `jinja_of`, which reads a template file of the installed Axolotl where the template is
Axolotl's. Names, and how labels are set, checked against Axolotl 0.19.0 (utils/chat_templates,
prompt_strategies/chat_template.py).

The end of a turn: Axolotl marks the tokens of an answer, and beside them the tokenizer's end token
if it stands within 3 tokens after the answer, and each of `eot_tokens`. Where a template closes a
turn with a token that is not the tokenizer's end token (Gemma's `<end_of_turn>`), the model would
never learn to stop unless `eot_tokens` names it: Axolotl only prints a warning. So it is written
wherever the template's own token is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from runner.spec.model import AxolotlSpec
from runner.spec.problems import MachineError, how_to_install

QUESTION_ANSWER = r"""
{%- if not eos_token -%}
{{ raise_exception('template question_answer: the tokenizer has no end token (eos_token)') }}
{%- endif -%}
{%- if bos_token -%}{{ bos_token }}{%- endif -%}
{%- for message in messages -%}
{%- if message['role'] == 'system' -%}
{{ (message['content'] | trim) + '\n\n' }}
{%- elif message['role'] == 'user' -%}
{{ 'Question: ' + (message['content'] | trim) + '\n' }}
{%- elif message['role'] == 'assistant' -%}
{{ 'Answer: ' + (message['content'] | trim) }}{{ eos_token }}
{%- if not loop.last -%}{{ '\n\n' }}{%- endif -%}
{%- else -%}
{{ raise_exception('template question_answer: unknown role ' + message['role']) }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ 'Answer:' }}{%- endif -%}
""".strip()
"""The template for models without one.

The tokenizer's start token where it has one, then `Question: ...`, a line break, `Answer: ...` and
the end token; turns are parted by an empty line, a system message stands before the first. The
generation prompt ends without the space: byte-level tokenizers join it to the first word."""


@dataclass(frozen=True)
class Template:
    """One template."""

    axolotl: str
    """Axolotl's `chat_template`."""
    jinja: str | None
    """Axolotl's `chat_template_jinja`: our own text; None where Axolotl or the tokenizer has it."""
    end_of_turn: tuple[str, ...]
    """Tokens, beside the tokenizer's end token, that close an answer and carry loss."""


TEMPLATES: Mapping[str, Template] = MappingProxyType(
    {
        "tokenizer": Template("tokenizer_default", None, ()),
        "question_answer": Template("jinja", QUESTION_ANSWER, ()),
        "chatml": Template("chatml", None, ("<|im_end|>",)),
        "gemma3": Template("gemma3", None, ("<end_of_turn>",)),
        "llama3": Template("llama3", None, ("<|eot_id|>",)),
        "llama3_2_vision": Template("llama3_2_vision", None, ("<|eot_id|>",)),
        "qwen3": Template("qwen3", None, ("<|im_end|>",)),
    }
)

_OWN_END_OF_TURN: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "gemma2": ("<end_of_turn>",),
        "gemma3": ("<end_of_turn>",),
        "gemma3_text": ("<end_of_turn>",),
        "phi3": ("<|end|>",),
    }
)
"""Architecture -> the token by which its own template closes a turn, where it is not its end token."""


def end_of_turn(spec: AxolotlSpec) -> tuple[str, ...]:
    """Return the tokens, beside the tokenizer's end token, that close an answer and carry loss."""
    if spec.data.template == "tokenizer":
        return _OWN_END_OF_TURN.get(spec.model.architecture, ())
    return TEMPLATES[spec.data.template].end_of_turn


def template_keys(spec: AxolotlSpec) -> dict[str, Any]:
    """Return Axolotl's `chat_template` and, for our own text, `chat_template_jinja`.

    They stand at the top level of its config, and in each data set, which would otherwise take the
    tokenizer's.
    """
    template = TEMPLATES[spec.data.template]
    keys: dict[str, Any] = {"chat_template": template.axolotl}
    if template.jinja is not None:
        keys["chat_template_jinja"] = template.jinja
    return keys


def jinja_of(name: str) -> str | None:
    """Return the Jinja text of a template, for `tokenizer.apply_chat_template(chat_template=...)`.

    None for `tokenizer`: the tokenizer's own is meant. The text of chatml, gemma3, llama3, llama3_2_vision and
    qwen3 is read from the installed Axolotl, without importing it, so that training, token audit and
    evaluation cannot differ.

    Raises:
        KeyError: there is no template of that name.
        MachineError: Axolotl is needed and not installed.
    """
    template = TEMPLATES[name]
    if template.jinja is not None or name == "tokenizer":
        return template.jinja
    return _shipped(template.axolotl)


def _shipped(name: str) -> str:
    from importlib.util import find_spec

    package = find_spec("axolotl")
    if package is None or package.origin is None:
        raise MachineError(
            f"template {name!r} comes with Axolotl, which is not installed\n  {how_to_install('train')}"
        )
    path = Path(package.origin).parent / "utils" / "chat_templates" / "templates" / f"{name}.jinja"
    return path.read_text(encoding="utf-8")
