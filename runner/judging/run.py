"""What the tasks of one evaluation share: settings, model, tokenizer, records."""

from __future__ import annotations

import copy
import hashlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from runner.events import EventWriter
from runner.files import canonical_sha256, read_json, sha256_of
from runner.image_text import ImageText, image_text_of, load_processor
from runner.judging.model import attach_adapter, identity_of, load_model
from runner.judging.vision import BLANK, NOTHING, Seen, Sight, check_processor
from runner.outputs import require_recorded
from runner.spec.problems import DataError, StageError
from runner.tokens import Row, load_tokenizer, read_records, rows_of, template_of

Choice = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]
Ablation = Literal["blank", "shuffled"]

WHOLE = sys.maxsize
"""A context that cuts nothing."""
PROGRESS_EVERY_S = 1.0
PROBED = 8
"""Records on which an adapter must change a prediction."""
SEARCHED = 256
"""Training records among which the engine's first row must be; it drops those without an answer token."""


class Judging:
    """One model that is judged on the records of a run.

    Args:
        settings: of the stage, with placeholders replaced.
        written: the same as the plan wrote them, which is what is stored.
        events: where progress is told.
    """

    def __init__(self, settings: Mapping[str, Any], written: Mapping[str, Any], events: EventWriter) -> None:
        self.settings, self.written, self.events = settings, written, events
        self._told = time.monotonic()
        self._base: dict[str, Any] = {}
        self._adapter: dict[str, Any] | None = None
        self.kept: dict[Any, Any] = {}
        """What a task makes for its lock and needs again for its predictions."""
        self._ablation: Ablation | None = None

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer that training used."""
        own = self.settings["tokenizer"]
        return load_tokenizer(
            own or self.settings["model"],
            revision=None if own else self.settings["revision"],
            trust_remote_code=self.settings["trust_remote_code"],
        )

    @cached_property
    def processor(self) -> Any | None:
        """The processor of images that training used; None for a model of text."""
        if not self.settings["images"]:
            return None
        return load_processor(
            self.settings["model"],
            revision=self.settings["revision"],
            trust_remote_code=self.settings["trust_remote_code"],
        )

    @cached_property
    def image_text(self) -> ImageText | None:
        """How the processor writes an image into the text; None for a model of text."""
        return None if self.processor is None else image_text_of(self.processor)

    @cached_property
    def image_sha256(self) -> str | None:
        """The hash of what is done to an image and how it stands in the text; None for a model of text."""
        if self.processor is None or self.image_text is None:
            return None
        told = self.processor.image_processor.to_dict()
        kept = {key: value for key, value in told.items() if key != "_name_or_path"}
        return canonical_sha256(
            {"images": kept, "mark": self.image_text.mark, "written": self.image_text.written}
        )

    @cached_property
    def sight(self) -> Sight | None:
        """What gives images to the model; None for a model of text."""
        return None if self.processor is None else Sight(self.processor, self.model.config.model_type)

    def looking_at(self, records: Sequence[Mapping[str, Any]]) -> Callable[[Any], Seen]:
        """Return a function of padded ids of these records: what the model takes beside them, their images."""
        sight = self.sight
        if sight is None:
            return lambda ids: NOTHING
        return lambda ids: sight.look(self.model, ids, [record["images"] for record in records])

    def ablated(self, ablation: Ablation) -> Judging:
        """Return the same model, which is shown other images: blank ones, or those of other groups' records."""
        other = copy.copy(self)
        other._ablation = ablation
        return other

    @cached_property
    def template(self) -> str:
        """The chat template as Jinja text."""
        return template_of(self.tokenizer, self.settings["template"])

    @cached_property
    def model(self) -> Any:
        """The model in evaluation mode, with its adapter, which is proven to act.

        Raises:
            MachineError: model, adapter or device are not there.
            StageError: the adapter lacks weights or changes nothing, or weights that were made in this run are not as
                the stage that made them left them.
        """
        model, adapter = load_model(self.settings), self.settings["adapter"]
        self._base = _as_left(self.settings["model"], identity_of(self.settings["model"], model))
        if not adapter:
            return model
        records = self._some_records()
        sight = None if self.processor is None else Sight(self.processor, model.config.model_type)
        images = [record["images"] for record in records] if sight else []
        model, proof = attach_adapter(
            model,
            adapter,
            self.rows(records),
            lambda ids: sight.look(model, ids, images).first if sight else {},
        )
        self._adapter = {
            "name": self.written["adapter"],
            **_as_left(adapter, identity_of(adapter, model)),
            **proof,
        }
        return model

    def identity(self) -> dict[str, Any]:
        """Return what tells the judged model from any other: weights by hash, paths as the plan wrote them."""
        device = str(self.model.device)
        name = {"name": self.written["model"], "revision": self.written["revision"]}
        return {"model": {**name, **self._base}, "adapter": self._adapter, "device": device}

    def _some_records(self) -> list[dict[str, Any]]:
        for split in ("test", "validation", "train"):
            path = Path("data") / f"{split}.jsonl"
            records = list(read_records(path, PROBED)) if path.exists() else []
            if records:
                return records
        raise DataError("data/ holds no record")

    def records(
        self,
        split: str,
        most: int | None = None,
        asks: Sequence[str] = (),
        choose: Choice | None = None,
    ) -> list[dict[str, Any]]:
        """Return the records of a split, the first `most` of them; with `asks` of those that ask this.

        `choose` picks among these, before images are exchanged: the same records whatever they are shown with.

        Raises:
            DataError: the split is empty, or no record asks this; says what they ask.
        """
        path = Path("data") / f"{split}.jsonl"
        records = list(read_records(path, None if asks else most))
        if asks and records:
            asked = [record for record in records if record.get("asks") in asks]
            if not asked:
                have = ", ".join(sorted({str(record.get("asks")) for record in records}))
                raise DataError(f"no record of {path} asks {', '.join(asks)}; they ask: {have}")
            records = asked[:most]
        if not records:
            raise DataError(
                f"{path} holds no record: there is nothing to judge\n  give data.split.{split} a size"
            )
        return self.shown(choose(records) if choose else records)

    def validation(self, most: int | None = None, choose: Choice | None = None) -> list[dict[str, Any]]:
        """Return the validation records, from which a temperature or thresholds are chosen; none for other images.

        What is chosen on the real images holds for the others too: the question is what this model does without them.
        """
        return [] if self._ablation else self.records("validation", most, choose=choose)

    def shown(self, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the records with the images that they are judged with.

        Raises:
            DataError: an image is wanted and a record has none, or all are of one group, so that none can be taken
                from another.
        """
        if not self.settings["images"]:
            return records
        without = [record["id"] for record in records if not record.get("images")]
        if without:
            raise DataError(
                f"{len(without)} of {len(records)} records have no image, among them {without[0]!r}"
            )
        if self._ablation == "blank":
            return [{**one, "images": [BLANK + path for path in one["images"]]} for one in records]
        return _exchanged(records) if self._ablation == "shuffled" else records

    def rows(self, records: Sequence[Mapping[str, Any]]) -> list[Row]:
        """Return the records as tokens, exactly as training sees them."""
        return list(
            rows_of(
                self.tokenizer,
                records,
                self.template,
                WHOLE
                if self.settings["images"]
                else self.settings["context"],  # the engine cuts no row with images
                self.settings["end_tokens"],
                self.image_text,
            )
        )

    def check_images(self) -> dict[str, Any] | None:
        """Return the proof that one record's tokens are those of the processor; None for a model of text.

        Raises:
            StageError: they are not.
        """
        if self.processor is None:
            return None
        record = self._some_records()[0]
        return check_processor(self.processor, record, self.template, self.rows([record])[0].input_ids)

    def check_tokens(self) -> None:
        """Compare the first row that the engine trained on with the same record made into tokens here.

        Raises:
            StageError: no training record has these tokens and labels; says where the nearest one differs.
        """
        proof = self.settings["trained_on"]
        if proof is None:
            return
        wanted = read_json(Path(proof)).get("first_row")
        if wanted is None:
            return
        ids, labels = tuple(wanted["input_ids"]), tuple(wanted["labels"])
        rows = self.rows(list(read_records(Path("data/train.jsonl"), SEARCHED)))
        if any((row.input_ids, row.labels) == (ids, labels) for row in rows):
            return
        best = max(rows, key=lambda row: _agreeing(row.input_ids, ids))
        place = _agreeing(best.input_ids, ids)
        what = "token" if best.input_ids != ids else "label"
        place = place if what == "token" else _agreeing(best.labels, labels)
        raise StageError(
            f"evaluation would not see the records as training did: the first row that the engine trained on "
            f"has {len(ids)} tokens, the nearest record here {len(best.input_ids)}, and their {what}s differ "
            f"from position {place} on\n  the template, the tokenizer or the context is not that of the training"
        )

    def check_trained(self) -> None:
        """Check that weights trained in full are not those that the baseline was measured with.

        What an adapter changes is proven when it is attached.

        Raises:
            StageError: the files are equal.
        """
        before = Path("eval/baseline.json")
        if self.settings["trained_on"] is None or self.settings["adapter"] or not before.exists():
            return
        base = read_json(before).get("model", {}).get("sha256")
        now = identity_of(self.settings["model"], None).get("sha256")
        if base and now and sorted(base.values()) == sorted(now.values()):
            raise StageError(
                f"the weights in {self.settings['model']!r} are those of the base model: nothing was trained"
            )

    def progress(self, done: int, total: int | None, unit: str) -> None:
        """Tell how far a task is, at most once a second and at its end."""
        now = time.monotonic()
        if done == total or now - self._told >= PROGRESS_EVERY_S:
            self._told = now
            self.events.write("progress", done=done, total=total, unit=unit)

    def records_sha256(self, split: str) -> str | None:
        """Return the hash of a split's file, None where there is none."""
        path = Path("data") / f"{split}.jsonl"
        return sha256_of(path) if path.exists() else None


def _as_left(place: str, identity: dict[str, Any]) -> dict[str, Any]:
    """Return the identity of loaded weights, once those that are the run's own are known to be as they were left."""
    for name, sha in identity.get("sha256", {}).items():
        require_recorded(Path(), Path(place) / name, sha)
    return identity


def _exchanged(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the records, each with the images of another group's: of the next one in an order by hash."""
    order = sorted(records, key=lambda one: hashlib.sha256(str(one["id"]).encode()).digest())
    images: dict[str, Any] = {}
    for place, record in enumerate(order):
        after = (order[(place + step) % len(order)] for step in range(1, len(order)))
        other = next((one for one in after if one["group"] != record["group"]), None)
        if other is None:
            raise DataError(
                "all records are of one group, so no image can be taken from another\n  ablate: [blank]"
            )
        images[record["id"]] = other["images"]
    return [{**record, "images": images[record["id"]]} for record in records]


def _agreeing(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many values two sequences have in common at their start."""
    pairs = zip(one, other, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
