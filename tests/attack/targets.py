"""What is attacked: the formats that the data stages read, checkpoints, task files, a judge's answers, and specs."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import h5py
import numpy as np
import yaml
from ecg_specs import FOLDER
from pydantic import TypeAdapter

from converters.ecg_numbers import numbers_of
from converters.records.cardio import RAW
from converters.records.ecg.record import LEADS
from runner.backends.native import stages
from runner.files import read_json, write_json
from runner.spec.ecg import EcgSpec
from runner.spec.sources import Data
from runner.spec.vlm_sources import VlmData
from runner.spec_files import find_specs

from .bodies import SETS
from .damage import ODD_SHARE, TEXTS, Content, Odd, any_value, damaged, text_changed, yaml_changed
from .engine import ROOT, Case, Job, Target

DATA = ("data/train.jsonl", "data/validation.jsonl", "data/test.jsonl", "data/split.json")
STORE, MANIFEST = "data/records.h5", "data/manifest.json"
SPLIT = {"train": 0.6, "validation": 0.2, "test": 0.2}
RECORDS = 20
TEXT_STAGE = "runner.stages.data"
ECG_STAGE = "runner.stages.ecg_data"


def written_is_told(case: Case) -> Iterator[str]:
    """Yield what the data stage wrote otherwise than from the right files, with the same manifest."""
    if case.ended[0].code != 0 or case.right is None:
        return
    right, mine = case.right.folder, case.folder
    if read_json(right / MANIFEST) == read_json(mine / MANIFEST) and (
        name := next(_other_files(right, mine), None)
    ):
        yield f"{name} is another, and the manifest is the same"


def _other_files(right: Path, mine: Path) -> Iterator[str]:
    for name in DATA:
        contents = [
            path.read_bytes() if (path := folder / name).exists() else None for folder in (right, mine)
        ]
        if contents[0] != contents[1]:
            yield name
    if (right / STORE).exists() and _stored(right) != _stored(mine):
        yield STORE


def _stored(folder: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with h5py.File(folder / STORE, "r") as file:
        file.visititems(
            lambda name, node: found.update({name: node[()].tobytes()} if hasattr(node, "shape") else {})
        )
    return found


# -------------------------------------------------------------------------------------------- texts and images


def _stage(folder: Path, settings: Mapping[str, Any]) -> None:
    write_json(folder / "config/data.json", settings)


def text_settings(section: Mapping[str, Any], form: Any = Data) -> dict[str, Any]:
    """Return the settings of the data stage for a section as it stands in a spec."""
    adapter: TypeAdapter[Any] = TypeAdapter(form)
    template = "question_answer" if form is Data else "gemma3"
    whole = {"template": template, **section}
    data = json.loads(adapter.dump_json(adapter.validate_json(json.dumps(whole))))
    return {"data": data, "at_most": None, "cache": "../cache", "tokens": None}


def _talks(**more: Any) -> str:
    lines = []
    for number in range(RECORDS):
        turns = [{"role": "user", "content": f"Q{number}?"}, {"role": "assistant", "content": f"A{number}."}]
        lines.append(json.dumps({"id": f"r{number}", "messages": turns, "group": f"g{number % 12}", **more}))
    return "\n".join(lines) + "\n"


def messages(folder: Path) -> None:
    """Write JSON lines of messages."""
    (folder / "in.jsonl").write_text(_talks(labels=["AF"]))
    _stage(
        folder, text_settings({"source": "messages", "path": "./in.jsonl", "split": {**SPLIT, "by": "group"}})
    )


XML = """<?xml version="1.0" encoding="UTF-8"?>
<Document id="{name}" source="S" url="u"><Focus>Focus {name}</Focus><FocusAnnotations><UMLS><CUIs><CUI>C1</CUI></CUIs></UMLS></FocusAnnotations><QAPairs>
<QAPair pid="1"><Question qid="{name}-1" qtype="x">What is {name} ?</Question><Answer>It is {name}.</Answer></QAPair>
<QAPair pid="2"><Question qid="{name}-2" qtype="y">Who gets {name} ?</Question><Answer>All &amp; none {name}.</Answer></QAPair>
</QAPairs></Document>
"""


def medquad(folder: Path) -> None:
    """Write documents of two collections."""
    for number in range(RECORDS):
        file = folder / "root" / f"{1 + number % 2}_Some_QA" / f"{number:07d}.xml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(XML.format(name=f"{number:07d}"))
    asked = {"source": "medquad", "root": "root", "damaged_files": 1, "split": {**SPLIT, "by": "focus"}}
    _stage(folder, text_settings(asked))


PROMPT = {"answers": {"absent": "no", "present": "yes"}, "split": {**SPLIT, "by": "record"}}


def cardio(folder: Path) -> None:
    """Write the cardiovascular table."""
    rows = [
        f"{n};{18000 + n};{1 + n % 2};{160 + n};62.0;{110 + n};80;{1 + n % 3};1;0;0;1;{n % 2}"
        for n in range(RECORDS)
    ]
    (folder / "cardio.csv").write_text("\n".join([";".join(RAW), *rows]) + "\n")
    _stage(
        folder,
        text_settings(
            {
                "source": "cardio",
                "root": ".",
                "file": "cardio.csv",
                "prompt": "Age {age_years}, {sex}, {height} {weight}.",
                **PROMPT,
            }
        ),
    )


def uci_heart(folder: Path) -> None:
    """Write the files of two hospitals."""
    for site in ("cleveland", "hungarian"):
        rows = [
            f"{40 + n}.0,1.0,1.0,145.0,233.0,1.0,2.0,150.0,0.0,2.3,3.0,?,6.0,{n % 3}" for n in range(RECORDS)
        ]
        (folder / f"processed.{site}.data").write_text("\n".join(rows) + "\n")
    _stage(
        folder, text_settings({"source": "uci_heart", "root": ".", "prompt": "Age {age}, {sex}.", **PROMPT})
    )


def png(shade: int) -> bytes:
    """Return a small grey image."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(np.full((20, 30, 3), shade, dtype=np.uint8)).save(out, "PNG")
    return out.getvalue()


def instruct(folder: Path) -> None:
    """Write ECGInstruct: a JSON list, images in a folder and in a tar."""
    rows = []
    images = {f"x/{number}.png": png(number) for number in range(RECORDS)}
    for number, name in enumerate(images):
        turns = [
            {"from": "human", "value": f"<image>\nWhat is {number}?"},
            {"from": "gpt", "value": f"A{number}."},
        ]
        rows.append({"id": f"r{number}", "image": name, "conversations": turns})
    (folder / "rows.json").write_text(json.dumps(rows, indent=1))
    (folder / "images/x").mkdir(parents=True)
    with tarfile.open(folder / "more.tar", "w") as archive:
        for number, (name, content) in enumerate(images.items()):
            if number % 2:
                (folder / "images" / name).write_bytes(content)
            else:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    section = {
        "source": "ecginstruct", "root": ".", "path": "rows.json", "images": ["images", "more.tar"],
        "split": {**SPLIT, "by": "group"}, "render": {"dpi": 40, "plotted_pixels": False}, "workers": 1,
    }  # fmt: skip
    _stage(folder, text_settings(section, VlmData))


# ----------------------------------------------------------------------------------------------------- signals


def _ecg(folder: Path, section: Mapping[str, Any]) -> None:
    whole = {
        "spec": 1, "name": "attacked", "kind": "ecg", "model": {"backbone": "tinylight"}, "method": {"name": "full"},
        "data": {
            "records": None, **FOLDER, "pipeline": [{"step": "standardise"}, {"step": "pad_or_crop", "samples": 64}],
            "root": ".", "classes_without_positives": 100, "workers": 1, "faults_at_most": 0.2, "unlabelled": "keep",
            "split": {"by": "patient", **SPLIT}, **section,
        },
        "train": {"steps": 2, "batch": 4, "learning_rate": 1e-3}, "compute": {"device": "cpu"},
        "evaluate": [{"task": "signal_multilabel"}],
    }  # fmt: skip
    spec = EcgSpec.model_validate_json(json.dumps(whole))
    (stage,) = (
        stage for stage in stages(spec, numbers_of(spec, None), rehearsal=False) if stage.name == "data"
    )
    _stage(folder, {**stage.settings, "cache": "../cache"})


def _waves(points: int = 100, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(RECORDS, 12, points)) * scale


def _table(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def arrays(folder: Path) -> None:
    """Write a user's own recordings: a table, and .npy and .csv files."""
    rows = []
    for number, wave in enumerate(_waves()):
        name = f"r{number}." + ("npy", "npy", "csv")[number % 3]
        if name.endswith("npy"):
            np.save(folder / name, wave.astype(np.float32))
        else:
            lines = [",".join(LEADS), *(",".join(f"{value:.4f}" for value in row) for row in wave.T)]
            (folder / name).write_text("\n".join(lines) + "\n")
        rows.append(
            {
                "id": f"r{number}",
                "file": name,
                "labels": ("AF", "AF;LVH", "")[number % 3],
                "patient": f"p{number // 2}",
                "age": 40 + number,
                "sex": "FM"[number % 2],
                "fs_hz": 100,
            }
        )
    _table(folder / "records.csv", rows)
    _ecg(folder, {"source": "arrays", "classes": ["AF", "LVH"], "fs_hz": 100})


def _wfdb(place: Path, adu: np.ndarray, ending: str, form: str, more: str) -> None:
    name = place.name
    lines = [f"{name} 12 100 {adu.shape[1]}"]
    for lead, row in zip(LEADS, adu, strict=True):
        checksum = int(np.int64(row).sum()) % 65536
        lines.append(f"{name}.{ending} {form} 1000/mV 16 0 {row[0]} {checksum} 0 {lead}")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.with_suffix(".hea").write_text("\n".join(lines) + "\n" + more)
    head = bytes(24) if ending == "mat" else b""
    place.with_suffix(f".{ending}").write_bytes(head + np.ascontiguousarray(adu.T).astype("<i2").tobytes())


def cinc2021(folder: Path) -> None:
    """Write the challenge's headers and .mat files."""
    codes = ("426783006", "426177001", "427084000,164889003")
    for number, wave in enumerate(_waves(scale=300)):
        about = f"#Age: {40 + number}\n#Sex: Male\n#Dx: {codes[number % 3]}\n#Rx: Unknown\n#Hx: Unknown\n#Sx: Unknown\n"
        _wfdb(folder / "georgia" / f"E{number:05d}", wave.astype(np.int16), "mat", "16+24", about)
    _ecg(
        folder,
        {
            "source": "cinc2021",
            "databases": ["georgia"],
            "pipeline": [{"step": "resample", "fs_hz": 100}, {"step": "pad_or_crop", "samples": 64}],
        },
    )


def ptbxl(folder: Path) -> None:
    """Write PTB-XL's two tables and records at 100 Hz."""
    rows = []
    for number, wave in enumerate(_waves(points=1000, scale=300)):
        name = f"records100/00000/{number + 1:05d}_lr"
        _wfdb(folder / name, wave.astype(np.int16), "dat", "16", "")
        rows.append({
            "ecg_id": number + 1, "patient_id": f"{number // 2}.0", "age": 40.0 + number, "sex": number % 2, "site": 0.0,
            "scp_codes": ("{'NORM': 100.0, 'SR': 0.0}", "{'IMI': 80.0}")[number % 2], "strat_fold": 1 + number // 2,
            "filename_lr": name, "filename_hr": name.replace("100", "500").replace("_lr", "_hr"),
        })  # fmt: skip
    _table(folder / "ptbxl_database.csv", rows)
    statements = (
        ",description,diagnostic,form,rhythm,diagnostic_class,diagnostic_subclass\n"
        "NORM,normal ECG,1.0,,,NORM,NORM\nIMI,inferior myocardial infarction,1.0,,,MI,IMI\nSR,sinus rhythm,,,1.0,,\n"
    )
    (folder / "scp_statements.csv").write_text(statements)
    _ecg(folder, {"source": "ptbxl", "task": "superdiagnostic", "fs_hz": 100, "split": {"by": "fold"}})


def code15(folder: Path) -> None:
    """Write two parts of CODE-15 % and their table."""
    rows = []
    for part in range(2):
        ids = [10 * part + number + 1 for number in range(10)]
        with h5py.File(folder / f"part{part}.hdf5", "w") as file:
            file["exam_id"] = [*ids, 0]
            tracings = np.zeros((11, 80, 12), dtype=np.float32)
            tracings[:10, 5:75] = _waves(points=70)[part * 10 : part * 10 + 10].transpose(0, 2, 1)
            file["tracings"] = tracings
        rows += [
            {
                "exam_id": exam,
                "age": 50,
                "is_male": "True",
                "AF": exam % 3 == 0,
                "ST": False,
                "SB": False,
                "LBBB": False,
                "RBBB": exam % 2 == 0,
                "1dAVb": False,
                "patient_id": exam // 2,
                "trace_file": f"part{part}.hdf5",
            }
            for exam in ids
        ]
    _table(folder / "exams.csv", rows)
    _ecg(folder, {"source": "code15"})


def sph(folder: Path) -> None:
    """Write SPH: a file for each recording and the metadata."""
    rows = []
    for number, wave in enumerate(_waves()):
        with h5py.File(folder / f"A{number:05d}.h5", "w") as file:
            file["ecg"] = wave.astype(np.float16)
        rows.append(
            {
                "ECG_ID": f"A{number:05d}",
                "AHA_Code": ("1", "22;23", "50+346")[number % 3],
                "Patient_ID": f"S{number // 2}",
                "Age": 40 + number,
                "Sex": "MF"[number % 2],
                "N": 100,
                "Date": "2020-03-04",
            }
        )
    _table(folder / "metadata.csv", rows)
    _ecg(
        folder,
        {
            "source": "sph",
            "pipeline": [{"step": "resample", "fs_hz": 100}, {"step": "pad_or_crop", "samples": 64}],
        },
    )


# --------------------------------------------------------------------------------------------------- all others


def checkpoints(folder: Path) -> None:
    """Write the weights of a small backbone in our form and in the published one."""
    import torch
    from native_parts import in_published_format

    from runner.native import checkpoints
    from runner.native.backbone import backbone
    from runner.native.streams import built

    model = built(5, lambda: backbone("tinylight", 3))
    checkpoints.save(model, folder / "ours.safetensors", {"architecture": "tinylight", "classes": "3"})
    torch.save(in_published_format(model), folder / "theirs.pt")


TASK = """task: own_mcq
dataset_path: json
dataset_kwargs: {data_files: {test: rows.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question.strip()}}\\nAnswer:"
doc_to_choice: [A, B]
doc_to_target: "{{answer}}"
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
include: common.yaml
"""


def task_files(folder: Path) -> None:
    """Write a task file that includes another."""
    (folder / "tasks").mkdir()
    (folder / "tasks/own.yaml").write_text(TASK)
    (folder / "tasks/common.yaml").write_text("metadata: {version: 1}\nnum_fewshot: 0\n")


def answers(folder: Path) -> None:
    """Write a list of models and a graded answer, as they come over the wire."""
    from eval.judge.rubrics import rubric

    asked = rubric("ecg_report_100")
    grades = dict.fromkeys(asked.schema["required"], asked.highest)
    reply = {"role": "assistant", "content": json.dumps(grades)}
    chat = {"model": "judge-1", "choices": [{"message": reply, "finish_reason": "stop"}]}
    for name, value in (("models", {"data": [{"id": "judge"}]}), ("chat", chat)):
        body = json.dumps(value)
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        (folder / f"{name}.http").write_text(head + body, newline="")


def answer_changed(rng: Random, name: str, content: Content) -> Content:
    """Damage a body and say its new length, or damage what is sent as a whole."""
    if isinstance(content, Odd) or rng.random() < 0.5:
        return damaged(rng, name, content)
    head, _, body = content.partition(b"\r\n\r\n")
    new = damaged(rng, "body.json", body)
    if isinstance(new, Odd):
        return new
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length")]
    more = rng.choice(
        (
            b"HTTP/1.1 500 X",
            b"HTTP/1.1 302 X\r\nLocation: http://127.0.0.1:9/",
            b"HTTP/1.1 429 X\r\nRetry-After: 9e9",
            b"HTTP/1.1 999 \x1b[31m",
        )
    )
    first = rng.choice((lines[0], lines[0], lines[0], more))
    return b"\r\n".join([first, *lines[1:], b"Content-Length: %d" % len(new), b"", new])


# ------------------------------------------------------------------------------------------------------ specs

BASES = (
    ROOT / "specs",
    ROOT / "tests/spec/base.yaml",
    ROOT / "tests/spec/base_ecg.yaml",
    ROOT / "tests/spec/base_vlm.yaml",
)
WORDS = (
    "spec", "name", "kind", "source", "task", "extends", "messages", "mixture", "components", "huggingface", "medquad", "lora", "full",
    "partial", "parameters", "modules", "include", "train", "epochs", "steps", "micro", "data", "split", "by", "axolotl", "deepspeed",
    "sweep", "axes", "arms", "seeds", "train.epochs", "method.rank", "zero2", "cuda", "datasets", "lora_alpha", "zero_optimization",
    "optimizer", "~x/y", "./a", "ecg", "ptbxl", "code15", "synthetic_ecg", "fold", "record", "hybrid", "addax", "linear_probe", "constant",
    "linear", "resample", "samples", "fs_hz", "upstream", "compat", "xresnet1d101", "distill", "train_teacher", "control", "controls", "report",
    "spec.yaml", "/etc/passwd", "/dev/zero", "tests", "llm", "vlm", "lm_eval", "judge", "generation", "rouge", "tiny-random", "<<",
)  # fmt: skip


def specs(folder: Path) -> None:
    """Write a right spec; each case begins with another that is shipped."""
    (folder / "spec.yaml").write_bytes((ROOT / "specs/quickstart/llm.yaml").read_bytes())
    (folder / SETS).write_text("")


def spec_changed(rng: Random, name: str, content: Content) -> Content:
    """Damage a spec that is shipped, or a change that is given with --set."""
    if isinstance(content, Odd):
        return content
    if name == SETS:
        line = f"{rng.choice(WORDS)}.{rng.choice(WORDS)}{rng.choice(('', '[0]', '[9]', '.x'))}={rng.choice((*TEXTS, *WORDS))}"
        return text_changed(rng, line.replace("\n", " ").encode("utf-8", "surrogatepass"))
    if rng.random() < ODD_SHARE / 2:
        return rng.choice(tuple(Odd))
    if rng.random() < 0.8:
        text = rng.choice(find_specs(BASES)).read_bytes()
        extended = yaml.safe_load(text).get("extends")
        content = (
            text
            if extended is None
            else text.replace(b"extends: ", b"extends: " + str(ROOT / "specs").encode() + b"/")
        )
    if rng.random() < 0.15:
        content += yaml.safe_dump({"sweep": _sweep(rng)}).encode()
    if rng.random() < 0.05:  # a key given twice
        key = rng.choice(("sweep", "name", "kind", "train", "data", "evaluate", "control"))
        content += b"\n" + yaml.safe_dump({key: any_value(rng, WORDS)}).encode("utf-8", "surrogatepass")
    return yaml_changed(rng, content, WORDS)


def _sweep(rng: Random) -> Any:
    """Return a section of a sweep; some of its keys are what they should be."""
    paths = ("train.seed", "train.epochs", "name", "method.rank", rng.choice(WORDS))
    made = {
        "axes": {rng.choice(paths): rng.choice(([1, 2], ["a", "a"], any_value(rng, WORDS)))},
        "arms": {
            rng.choice(("a", "b", *TEXTS[:8])): rng.choice(({rng.choice(paths): 3}, any_value(rng, WORDS)))
        },
        "seeds": rng.choice(([1, 2], [1, 1], any_value(rng, WORDS))),
        "control": rng.choice(("a", "seed=1", any_value(rng, WORDS))),
        "controls": any_value(rng, WORDS),
    }
    return {key: made[key] for key in made if rng.random() < 0.4}


_Made = Callable[[Path], None]


def _read_by(stage: str, make: _Made, *files: str, cases: int) -> Target:
    return Target(
        make.__name__, make, files, (Job("stage", (stage,)),), written_is_told, imports=(stage,), cases=cases
    )


TARGETS = (
    Target(
        "specs", specs, ("spec.yaml", SETS), (Job("spec"),), draw=spec_changed,
        imports=("runner.cli", "runner.validate_many", "runner.plan", "runner.probe", "runner.task_files", "runner.backends.axolotl", "runner.backends.native", "runner.spec.resolved", "runner.spec.sound"), cases=150,
    ),
    _read_by(TEXT_STAGE, messages, "in.jsonl", cases=50),
    _read_by(TEXT_STAGE, medquad, "root/*/*.xml", cases=50),
    _read_by(TEXT_STAGE, cardio, "cardio.csv", cases=40),
    _read_by(TEXT_STAGE, uci_heart, "processed.*", cases=40),
    _read_by(TEXT_STAGE, instruct, "rows.json", "images/*/*.png", "more.tar", cases=40),
    _read_by(ECG_STAGE, arrays, "*.csv", "*.npy", cases=70),
    _read_by(ECG_STAGE, cinc2021, "georgia/*", cases=60),
    _read_by(ECG_STAGE, ptbxl, "*.csv", "records100/*/*", cases=50),
    _read_by(ECG_STAGE, code15, "*.csv", "*.hdf5", cases=50),
    _read_by(ECG_STAGE, sph, "*.csv", "*.h5", cases=50),
    Target(
        "checkpoints", checkpoints, ("*",), (Job("checkpoint", ("ours",)), Job("checkpoint", ("theirs",))),
        imports=("runner.native.checkpoints",), cases=50,
    ),
    Target("task_files", task_files, ("tasks/*",), (Job("task_files"),), imports=("runner.task_files",), cases=80),
    Target(
        "answers", answers, ("*.http",), (Job("judged"),), draw=answer_changed, imports=("eval.judge.client", "eval.judge.rubrics", "jsonschema"),
        cases=50,
    ),
)  # fmt: skip
