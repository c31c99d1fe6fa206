"""Byte-level BPE tokenizers trained on a run's own text, with an architecture's real special tokens.

Special tokens as in the published tokenizers of each family: gpt2 (OpenAI), Llama 3 Instruct,
Gemma 3 instruction-tuned, Qwen 2.5 and 3, Mistral 7B Instruct. The order gives the ids.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

VOCABULARY = 1500
"""Entries at most, special tokens and the 256 bytes included."""

WORD = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How text falls into words before merging: the rule that Llama 3 and Qwen publish, digits by three."""

MISTRAL = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}"
    "{{ '[INST] ' }}"
    "{% if loop.index0 == 1 and messages[0]['role'] == 'system' %}{{ messages[0]['content'] + '\\n\\n' }}{% endif %}"
    "{{ message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + eos_token }}{% endif %}"
    "{% endfor %}"
)
"""`<s>[INST] question [/INST] answer</s>`, a system message at the head of the first question."""


@dataclass(frozen=True)
class Specials:
    """The special tokens of a family of models, by their job."""

    tokens: tuple[str, ...]
    """All of them; the place in the list is the id."""
    bos: str | None
    eos: str
    pad: str | None
    template: str | None
    """Name of a template of `converters.templates`, or Jinja text, or None: it comes without one."""


_QWEN = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

SPECIALS: Mapping[str, Specials] = MappingProxyType(
    {
        "gpt2": Specials(("<|endoftext|>",), "<|endoftext|>", "<|endoftext|>", None, None),
        "llama": Specials(
            (
                "<|begin_of_text|>",
                "<|end_of_text|>",
                "<|finetune_right_pad_id|>",
                "<|start_header_id|>",
                "<|end_header_id|>",
                "<|eom_id|>",
                "<|eot_id|>",
                "<|python_tag|>",
            ),
            "<|begin_of_text|>",
            "<|eot_id|>",
            "<|finetune_right_pad_id|>",
            "llama3",
        ),
        "gemma3_text": Specials(
            ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"),
            "<bos>",
            "<eos>",
            "<pad>",
            "gemma3",
        ),
        "qwen2": Specials(_QWEN, None, "<|im_end|>", "<|endoftext|>", "chatml"),
        "qwen3": Specials((*_QWEN, "<think>", "</think>"), None, "<|im_end|>", "<|endoftext|>", "qwen3"),
        "mistral": Specials(("<unk>", "<s>", "</s>", "[INST]", "[/INST]"), "<s>", "</s>", None, MISTRAL),
    }
)

GENERIC = Specials(_QWEN, None, "<|im_end|>", "<|endoftext|>", "chatml")
"""For an architecture whose own tokens are not known here."""

MARKERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "tokenizer": (),
        "question_answer": (),
        "chatml": ("<|im_start|>", "<|im_end|>"),
        "gemma3": ("<start_of_turn>", "<end_of_turn>"),
        "llama3": ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "qwen3": ("<|im_start|>", "<|im_end|>"),
    }
)
"""Template -> the special tokens that it writes."""


def train(texts: Iterable[str], architecture: str, template: str) -> tuple[Any, tuple[str, ...]]:
    """Return a tokenizer trained on `texts`, and the template's markers that the architecture lacks.

    The same texts give the same tokenizer. Markers that the architecture's published tokenizers do
    not have are added, as a base that was tuned with that template would have them.

    Args:
        texts: what it learns its words from; any text can be encoded, whatever it learned.
        architecture: decides the special tokens and the chat template that comes with the tokenizer.
        template: the spec's `data.template`.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    specials = SPECIALS.get(architecture, GENERIC)
    added = tuple(token for token in MARKERS[template] if token not in specials.tokens)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORD), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(  # type: ignore[no-untyped-call]  # its stub has no types
            vocab_size=VOCABULARY,
            min_frequency=2,
            special_tokens=[*specials.tokens, *added],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    names = {"bos_token": specials.bos, "eos_token": specials.eos, "pad_token": specials.pad}
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        clean_up_tokenization_spaces=False,
        **{job: token for job, token in names.items() if token is not None},
    )
    fast.chat_template = chat_template_of(specials)
    return fast, added


def chat_template_of(specials: Specials) -> str | None:
    """Return the Jinja text of the template that comes with a family's tokenizers, None without one."""
    if specials.template is None or re.search(r"[{%]", specials.template):
        return specials.template
    from converters.templates import jinja_of

    return jinja_of(specials.template)


def complete(tokenizer: Any, architecture: str) -> Any:
    """Return a given tokenizer with the end token of its family where its files name none.

    GPT-NeoX's and other bare `tokenizer.json` files hold their special tokens but do not say which
    is which. Nothing is added to the vocabulary.
    """
    specials = SPECIALS.get(architecture, GENERIC)
    vocabulary = tokenizer.get_vocab()
    if tokenizer.eos_token is None:
        candidates = (specials.eos, "<|endoftext|>", "</s>", "<eos>")
        tokenizer.eos_token = next((token for token in candidates if token in vocabulary), None)
    return tokenizer
