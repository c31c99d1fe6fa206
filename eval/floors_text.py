"""Answers to questions without a model: what any tuned model has to beat.

ROUGE rewards words in common, so the question itself scores above nothing, and the answer to a
similar question often above a small model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

METHOD = (
    "repeat_question: the question itself; nearest_question: the answer of the training question with the "
    "highest cosine of TF-IDF vectors of lower-case words (scikit-learn), the first of equals"
)
_AT_ONCE = 256
"""Questions compared with all training questions at a time, which bounds the memory."""


def nearest_questions(known: Sequence[str], asked: Sequence[str]) -> tuple[int, ...]:
    """Return for each question the place of the known one that is nearest.

    Similarity is the cosine of TF-IDF vectors, fitted on the known questions alone. Of equals, and
    where no word is known, the first is taken.

    Raises:
        ValueError: nothing is known, or no known question has a word of two letters or digits.

    >>> nearest_questions(["What is asthma?", "What causes gout?"], ["Painful gout?", "Who?"])
    (1, 0)
    """
    if not known:
        raise ValueError("no training questions to compare with")
    try:
        vectorizer = TfidfVectorizer()
        vectors = vectorizer.fit_transform(known)
    except ValueError as error:  # scikit-learn's words for no words at all
        raise ValueError(f"no word of two letters or digits in {len(known)} training questions") from error
    found: list[int] = []
    for start in range(0, len(asked), _AT_ONCE):
        part = vectorizer.transform(asked[start : start + _AT_ONCE])
        similarity = (part @ vectors.T).toarray().round(12)  # rounding makes equals equal
        found += np.argmax(similarity, axis=1).tolist()
    return tuple(found)
