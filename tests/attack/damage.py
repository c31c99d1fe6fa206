"""Damage to a file: by its format where it has one that we know, by its bytes for every file, and odd things in its place.

Everything is drawn from the generator that is given; the same one makes the same damage.
"""

from __future__ import annotations

import io
import json
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import PurePath
from random import Random
from typing import Any, TypeAlias

import h5py
import numpy as np
import yaml


class Odd(Enum):
    """What may stand where a file is expected."""

    MISSING = "missing"
    FOLDER = "folder"
    PIPE = "pipe"
    ENDLESS = "endless"
    """A link to a device that never ends."""
    DANGLING = "dangling"
    SPARSE = "sparse"
    """Of more bytes than memory may hold, none of them on the disk."""


Content: TypeAlias = bytes | Odd
Draw: TypeAlias = Callable[[Random, bytes], bytes]

NUMBERS = (
    "0", "-1", "1", "2", "3.7", "-0.0", "1e308", "1e999", "-1e999", "5e-324", "nan", "inf", "NaN", "Infinity", "2147483648",
    "-2147483649", "9223372036854775808", "99999999999999999999", "1" + "0" * 400, "9" * 5000, "0x10", "1_000", "١٢", "1,5", "True", "",
)  # fmt: skip
TEXTS = (
    "", " ", "\0", "\x1b[31mred\x1b[0m", "é", "\u202eabc", "\U0001d518", "a" * 300, "x" * 70_000, "../../etc/passwd", "/dev/zero", "/", ".", "~",
    "${HOME}", "${env:X}", "${", "{{ 7 * 7 }}", "<script>alert(1)</script>", "%s%n", "null", "-", "'", '"', ",", "a,b", "a\nb", "\ud800",
    "http://127.0.0.1:9/", "<image>", "<|eot_id|>", "[a-", "(", "a{99999999999}",
)  # fmt: skip
PLAIN = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63,
    10**30,
    10**350,
    0.5,
    -0.0,
    1e308,
    5e-324,
    float("inf"),
    float("nan"),
)


# --------------------------------------------------------------------------------------------- any bytes


def bytes_changed(rng: Random, content: bytes) -> bytes:
    """Return the bytes with one to three places damaged."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        content = rng.choice(BYTES)(rng, content)
    return content


def _span(rng: Random, content: bytes, longest: int = 64) -> tuple[int, int]:
    start = rng.randrange(len(content) + 1)
    # The start of a file is its header, which decides most.
    start = start if rng.random() < 0.6 else min(start, rng.randrange(200))
    return start, min(len(content), start + rng.randint(1, longest))


def _flipped(rng: Random, content: bytes) -> bytes:
    if not content:
        return content
    place, _ = _span(rng, content[:-1])
    return content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]


def _overwritten(rng: Random, content: bytes) -> bytes:
    start, end = _span(rng, content)
    new = rng.choice((b"\0", b"\xff", b"\x80", rng.randbytes(1))) * (end - start)
    return content[:start] + new + content[end:]


def _cut(rng: Random, content: bytes) -> bytes:
    return content[: rng.choice((0, 1, rng.randrange(len(content) + 1), max(0, len(content) - 1)))]


def _taken_out(rng: Random, content: bytes) -> bytes:
    start, end = _span(rng, content, 1000)
    return content[:start] + content[end:]


def _doubled(rng: Random, content: bytes) -> bytes:
    start, end = _span(rng, content, 1000)
    return content[:end] + content[start:end] * rng.choice((1, 1, 50)) + content[end:]


def _put_in(rng: Random, content: bytes) -> bytes:
    start, _ = _span(rng, content)
    new = rng.choice((rng.randbytes(rng.randint(1, 20)), b"\r", b"\n", b"\0", b"\xef\xbb\xbf", b"\xff\xfe"))
    return content[:start] + new + content[start:]


def _integer(rng: Random, content: bytes) -> bytes:
    """Put a number at the edge of its type where some binary number may stand."""
    size, sign = rng.choice(((2, "h"), (4, "i"), (8, "q")))
    start = _span(rng, content)[0] // size * size
    most = 1 << (8 * size - 1)
    value = rng.choice((0, 1, -1, most - 1, -most, most // 2))
    new = struct.pack(rng.choice("<>") + sign, value)
    return content[:start] + new + content[start + size :]


BYTES: tuple[Draw, ...] = (_flipped, _flipped, _overwritten, _cut, _taken_out, _doubled, _put_in, _integer)


# ---------------------------------------------------------------------------------------------------- text


def text_changed(rng: Random, content: bytes) -> bytes:
    """Return a text with a number, a word, a line or a piece changed."""
    for _ in range(rng.choice((1, 1, 2))):
        content = rng.choice(TEXT)(rng, content)
    return content


def _one_match(rng: Random, content: bytes, pattern: bytes, new: bytes) -> bytes:
    found = list(re.finditer(pattern, content))
    if not found:
        return content + new
    at = rng.choice(found)
    return content[: at.start()] + new + content[at.end() :]


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _number(rng: Random, content: bytes) -> bytes:
    return _one_match(rng, content, rb"-?\d+(\.\d+)?", rng.choice(NUMBERS).encode())


def _word(rng: Random, content: bytes) -> bytes:
    return _one_match(rng, content, rb"[A-Za-z_./]+", _encoded(rng.choice(TEXTS)))


def _field(rng: Random, content: bytes) -> bytes:
    """Change what stands between two separators."""
    new = rng.choice((_encoded(rng.choice(TEXTS)), rng.choice(NUMBERS).encode()))
    return _one_match(rng, content, rb"(?<=[,;\t \"'>])[^,;\t\"'<\n]+", new)


def _lines(rng: Random, content: bytes) -> bytes:
    lines = content.split(b"\n")
    place = rng.randrange(len(lines))
    what = rng.randrange(4)
    if what == 0:
        del lines[place]
    elif what == 1:
        lines.insert(place, rng.choice(lines))
    elif what == 2:
        lines[place : place + 1] = [lines[place]] * rng.choice((2, 500))
    else:
        other = rng.randrange(len(lines))
        lines[place], lines[other] = lines[other], lines[place]
    return b"\n".join(lines)


def _nested(rng: Random, content: bytes) -> bytes:
    start, _ = _span(rng, content)
    opened = rng.choice((b"[", b'{"a":', b"<a>", b"- ", b"("))
    return content[:start] + opened * rng.choice((3, 2000, 100_000)) + content[start:]


def _in_other_letters(rng: Random, content: bytes) -> bytes:
    text = content.decode("utf-8", "replace")
    return text.encode(rng.choice(("utf-16", "utf-8-sig", "latin-1", "utf-32")), "replace")


TEXT: tuple[Draw, ...] = (
    _number, _number, _number, _word, _field, _field, _lines, _lines, _nested, _in_other_letters, bytes_changed,
)  # fmt: skip


# --------------------------------------------------------------------------------------------- JSON and YAML


def value_changed(rng: Random, value: Any, words: tuple[str, ...] = ()) -> Any:
    """Return a JSON value with one node of it replaced, taken out, doubled or renamed."""
    paths = _paths(value)
    return _with(value, rng.choice(paths), rng, words) if paths else any_value(rng, words)


def any_value(rng: Random, words: tuple[str, ...] = (), depth: int = 2) -> Any:
    """Return some JSON value."""
    what = rng.randrange(6 if depth else 3)
    if what == 0:
        return rng.choice(PLAIN)
    if what <= 2:
        return rng.choice((*TEXTS, *words, *words))
    if what == 3:
        return [any_value(rng, words, depth - 1) for _ in range(rng.randrange(4))]
    if what == 4:
        return {
            str(rng.choice((*TEXTS, *words))): any_value(rng, words, depth - 1)
            for _ in range(rng.randrange(4))
        }
    return rng.randint(-3, 100)


def _paths(value: Any, under: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [under] if under else []
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for part, item in entries:
        found += _paths(item, (*under, part))
    return found


def _with(value: Any, path: tuple[Any, ...], rng: Random, words: tuple[str, ...]) -> Any:
    head, rest = path[0], path[1:]
    if rest:
        new = _with(value[head], rest, rng, words)
        return {**value, head: new} if isinstance(value, dict) else [*value[:head], new, *value[head + 1 :]]
    what = rng.randrange(8)
    if isinstance(value, dict):
        if what == 0:
            return {key: item for key, item in value.items() if key != head}
        if what == 1:
            return {rng.choice((*TEXTS, *words)) if key == head else key: item for key, item in value.items()}
        return {**value, head: _other(rng, value[head], words)}
    if what == 0:
        return [*value[:head], *value[head + 1 :]]
    if what == 1:
        return [*value, *[value[head]] * rng.choice((1, 300))]
    return [*value[:head], _other(rng, value[head], words), *value[head + 1 :]]


def _other(rng: Random, value: Any, words: tuple[str, ...]) -> Any:
    """Return another value, often of the same kind."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and rng.random() < 0.5:
        return rng.choice((value + 1, -value, value * 1000, value * 1e30, value / 7, str(value)))
    if isinstance(value, str) and rng.random() < 0.3:
        return value[: len(value) // 2] + rng.choice(TEXTS) + value[len(value) // 2 :]
    if isinstance(value, (list, dict)) and rng.random() < 0.3:
        return type(value)()
    return any_value(rng, words)


def json_changed(rng: Random, content: bytes) -> bytes:
    """Return a JSON text with a node of it changed; also as what is no JSON."""
    if rng.random() < 0.25:
        return text_changed(rng, content)
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return text_changed(rng, content)
    return json.dumps(value_changed(rng, value)).encode()


def jsonl_changed(rng: Random, content: bytes) -> bytes:
    """Return JSON lines, one of them changed."""
    lines = content.split(b"\n")
    place = rng.randrange(len(lines))
    if rng.random() < 0.25 or not lines[place].strip():
        return text_changed(rng, content)
    lines[place] = json_changed(rng, lines[place])
    return b"\n".join(lines)


def yaml_changed(rng: Random, content: bytes, words: tuple[str, ...] = ()) -> bytes:
    """Return a YAML text with a node of it changed, or its letters."""
    if rng.random() < 0.3:
        return text_changed(rng, content)
    try:
        value = yaml.safe_load(content)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text_changed(rng, content)
    for _ in range(rng.choice((1, 1, 2, 3))):
        value = value_changed(rng, value, words)
    return _encoded(yaml.safe_dump(value, allow_unicode=True, sort_keys=False))


# ----------------------------------------------------------------------------------------------- arrays


def npy_changed(rng: Random, content: bytes) -> bytes:
    """Return an array file of another shape or type, or one whose header is not true."""
    if rng.random() < 0.3 or not content.startswith(b"\x93NUMPY"):
        return bytes_changed(rng, content)
    if rng.random() < 0.4:
        return text_changed(rng, content[:128]) + content[128:]
    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, OSError, EOFError):
        return bytes_changed(rng, content)
    changed = _array_changed(rng, array)
    if rng.random() < 0.1:
        out = io.BytesIO()
        np.savez(out, signal=changed)
        return npz_changed(rng, out.getvalue())
    return _npy(changed)


def _array_changed(rng: Random, array: np.ndarray) -> np.ndarray:
    what = rng.randrange(12)
    if what == 0:
        return array.astype(rng.choice(("c16", "?", "S5", "U5", "i1", "u8", "f2", "f8", ">f4")))
    if what == 1:
        return np.array([{"a": 1}, None], dtype=object)
    if what == 2:
        return np.zeros(array.shape, dtype=[("a", "f4"), ("b", "S3")])
    if what == 3:
        return array.reshape(-1)[: rng.randrange(array.size + 1)]
    if what == 4:
        return np.asarray(array.T)
    if what == 5:
        return np.empty(rng.choice(((), (0,), (12, 0), (0, 12), (1, 12, 0))))
    if what == 6:
        return np.broadcast_to(array, (1, 1, *array.shape))
    if what == 7:
        return np.zeros(array.shape, "M8[s]")
    made = array.astype(float).copy() if array.dtype.kind in "fiu" else np.zeros((12, 50))
    if made.size:
        flat = made.reshape(-1)
        start = rng.randrange(flat.size)
        flat[start : start + rng.choice((1, 20, flat.size))] = rng.choice(
            (np.nan, np.inf, -np.inf, 1e30, 1e-320, 7.0)
        )
    return made


def _npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)
    return out.getvalue()


def npz_changed(rng: Random, content: bytes) -> bytes:
    """Return an archive of arrays, one of them changed, renamed, doubled or packed as it is not said to be."""
    if rng.random() < 0.3:
        return bytes_changed(rng, content)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            inside = {name: archive.read(name) for name in archive.namelist()}
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError):
        return bytes_changed(rng, content)
    if not inside:
        return bytes_changed(rng, content)
    name = rng.choice(sorted(inside))
    what = rng.randrange(6)
    if what == 0:
        inside[rng.choice(("../x.npy", "a", "x" * 300 + ".npy"))] = inside.pop(name)
    elif what == 1:
        inside[name + "2.npy"] = inside[name]
    elif what == 2:
        inside[name] = bytes(80_000_000)
    else:
        inside[name] = npy_changed(rng, inside[name])
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for one, data in inside.items():
            archive.writestr(zipfile.ZipInfo(one), data, zipfile.ZIP_DEFLATED)  # without the time of day
    return out.getvalue()


def hdf5_changed(rng: Random, content: bytes) -> bytes:
    """Return an HDF5 file with a data set of another type or shape, as a group, or as a link; or with broken bytes."""
    if rng.random() < 0.5:
        return bytes_changed(rng, content)
    try:
        with h5py.File.in_memory(content) as file:
            names: list[str] = []
            file.visit(names.append)
            _hdf5_node(rng, file, rng.choice(sorted(names)))
            file.flush()
            return bytes(file.id.get_file_image())
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, IndexError):
        return bytes_changed(rng, content)


def _hdf5_node(rng: Random, file: Any, name: str) -> None:
    old = file[name]
    array = old[()] if isinstance(old, h5py.Dataset) else np.zeros(3)
    what = rng.randrange(11)
    if what == 10:
        old.attrs[rng.choice((*old.attrs, "x"))] = rng.choice((1, -1, "x", float("nan"), np.zeros(3), "{"))
        return
    del file[name]
    if what == 0:
        file.create_group(name)
    elif what == 1:
        file.create_dataset(name, shape=(10**7, 4096, 12), chunks=(1, 4096, 12), dtype="f4")
    elif what == 2:
        file.create_dataset(
            name, shape=(*array.shape[:1], 10**9, 12)[: max(1, array.ndim)], dtype="f8", chunks=True
        )
    elif what == 3:
        file[name] = h5py.SoftLink(rng.choice(("/nowhere", f"/{name}")))
    elif what == 4:
        file[name] = h5py.ExternalLink(rng.choice(("nowhere.h5", "/etc/passwd")), "/x")
    elif what == 5:
        file.create_dataset(name, data=[str(item) for item in range(max(1, len(array)) if array.ndim else 1)])
    elif what == 6:
        file.create_dataset(name, data=rng.choice((7, "text", np.float32(1.5), h5py.Empty("f4"))))
    elif what == 7:
        pass
    elif what == 8 and array.dtype.kind in "fiu":
        file.create_dataset(name, data=array.astype(rng.choice(("c16", "?", "i1", "u8", "S6", "f2"))))
    else:
        changed = _array_changed(rng, array) if array.dtype.kind in "fiu" else np.zeros(array.shape)
        file.create_dataset(name, data=changed if changed.dtype.kind in "fiuc?" else np.zeros(2))


def safetensors_changed(rng: Random, content: bytes) -> bytes:
    """Return a file of tensors whose header says other things than its bytes hold."""
    if rng.random() < 0.4 or len(content) < 8:
        return bytes_changed(rng, content)
    (length,) = struct.unpack("<Q", content[:8])
    header, data = content[8 : 8 + length], content[8 + length :]
    header = json_changed(rng, header)
    if rng.random() < 0.15:
        length = rng.choice((0, 1, 2**31, 2**63, len(content), len(header) + 1))
        return struct.pack("<Q", length) + header + data
    return struct.pack("<Q", len(header)) + header + data


# ------------------------------------------------------------------------------------- images and archives


def image_changed(rng: Random, content: bytes) -> bytes:
    """Return an image of another size or mode, one that says it is huge, or damaged bytes."""
    from PIL import Image

    what = rng.randrange(8)
    if what <= 2:
        return bytes_changed(rng, content)
    if what == 3:
        return _png_of(rng.choice(((0, 0), (100_000, 100_000), (2**31 - 1, 1), (30_000, 3_000))))
    out = io.BytesIO()
    if what == 4:
        mode = rng.choice(("1", "L", "P", "RGBA", "I;16", "LA"))
        Image.new(mode, (30, 20)).save(out, "PNG")
    elif what == 5:
        form = rng.choice(("GIF", "BMP", "TIFF", "WEBP", "ICO", "JPEG"))
        Image.new("RGB", (30, 20)).save(out, form)
    elif what == 6:
        Image.new("CMYK", (30, 20)).save(out, "JPEG")
    else:
        Image.new("RGB", rng.choice(((1, 1), (1, 5000), (5000, 1), (3000, 3000)))).save(out, "PNG")
    return out.getvalue()


def _png_of(size: tuple[int, int]) -> bytes:
    """Return a PNG that says it has a size, with a right checksum and hardly any pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(100)))
        + chunk(b"IEND", b"")
    )


def tar_changed(rng: Random, content: bytes) -> bytes:
    """Return an archive with a member that leads out of it, is no file, says a wrong size, or is there twice."""
    if rng.random() < 0.4:
        return bytes_changed(rng, content)
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            inside = [(item, archive.extractfile(item)) for item in archive if item.isfile()]
            members = [(item, file.read() if file else b"") for item, file in inside]
    except (tarfile.TarError, OSError, EOFError, zlib.error):
        return bytes_changed(rng, content)
    if not members:
        return bytes_changed(rng, content)
    place = rng.randrange(len(members))
    member, data = members[place]
    what = rng.randrange(6)
    if what == 0:
        member.name = rng.choice(("../../out.png", "/tmp/out.png", "a" * 300, "", ".", "images"))
    elif what == 1:
        member.type = rng.choice(
            (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)
        )
        member.linkname, data = rng.choice(("/etc/passwd", "../..", member.name)), b""
        member.size = 0
    elif what == 2:
        members.append((member, data))
    elif what == 3:
        data = image_changed(rng, data)
        member.size = len(data)
    elif what == 4:
        del members[place]
    else:
        member.mtime, member.mode = rng.choice(((10**11, 0o7777), (0, 0)))
    if what != 4:
        members[place] = (member, data)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for item, part in members:
            archive.addfile(item, io.BytesIO(part))
    return out.getvalue()


# -------------------------------------------------------------------------------------------- by name

FORMATS: Mapping[str, Draw] = {
    ".json": json_changed, ".jsonl": jsonl_changed, ".yaml": yaml_changed, ".npy": npy_changed, ".npz": npz_changed, ".h5": hdf5_changed,
    ".hdf5": hdf5_changed, ".safetensors": safetensors_changed, ".png": image_changed, ".jpg": image_changed, ".tar": tar_changed,
    ".mat": bytes_changed, ".dat": bytes_changed, ".pt": npz_changed, ".pth": npz_changed,
}  # fmt: skip
"""End of a file's name -> how its format is damaged; every other file is a text."""
ODD_SHARE = 0.06


def damaged(rng: Random, name: str, content: Content) -> Content:
    """Return the content of a file, damaged, or something odd in its place."""
    if isinstance(content, Odd) or rng.random() < ODD_SHARE:
        return rng.choice(tuple(Odd))
    return FORMATS.get(PurePath(name).suffix, text_changed)(rng, content)
