"""Model -> predictions: one module a task of the spec, each with `predict(run, task, place)`.

Each writes one JSON line a record into `place`, from which `eval.judges` makes every number. What a
model is loaded from, its tokenizer and its records come from `runner.judging.run.Judging`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# Word under `task` -> module. Text, so that knowing the words imports nothing.
PREDICTORS: Mapping[str, str] = MappingProxyType(
    {
        "perplexity": "runner.judging.perplexity",
        "lm_eval": "runner.judging.lm_eval",
        "classification": "runner.judging.classification",
        "rouge": "runner.judging.rouge",
        "entities": "runner.judging.entities",
        "judge": "runner.judging.judge",
        "multilabel": "runner.judging.multilabel",
        "ecgbench": "runner.judging.ecgbench",
    }
)
