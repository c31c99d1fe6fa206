"""Loss, token accuracy and entropy of the validation records, one row at a time, in float64.

A program of its own, started by test_engine.py: knows the template, the tokenizer and the model, and
nothing of the engine or of the plugin. Writes first_principles.json into the current folder.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(root: Path) -> None:
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModelForCausalLM

    tokenizer = Tokenizer.from_file(str(root / "model/tokenizer.json"))
    model = AutoModelForCausalLM.from_pretrained(root / "model", dtype=torch.float64).eval()
    loss = entropy = 0.0
    correct = count = 0
    for line in (root / "data/validation.jsonl").read_text().splitlines():
        question, answer = (message["content"] for message in json.loads(line)["messages"])
        whole = tokenizer.encode(f"Question: {question}\nAnswer: {answer}</s>")
        # The answer's tokens: those that reach beyond the prompt. BPE puts the blank before a word into it.
        start = len(f"Question: {question}\nAnswer:")
        with torch.no_grad():
            log_p = model(torch.tensor([whole.ids])).logits[0].log_softmax(-1)
        for place, (token, (begin, _)) in enumerate(zip(whole.ids, whole.offsets, strict=True)):
            if begin >= start:
                row = log_p[place - 1]
                loss -= float(row[token])
                entropy -= float((row.exp() * row).sum())
                correct += int(row.argmax()) == token
                count += 1
    found = {
        "loss": loss / count,
        "entropy": entropy / count,
        "token_accuracy": correct / count,
        "label_tokens": count,
    }
    Path("first_principles.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
