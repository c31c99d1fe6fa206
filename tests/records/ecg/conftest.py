"""A small WFDB record on disk to spoil."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from converters.records.ecg.record import LEADS

MakeRecord = Callable[..., Path]


@pytest.fixture
def make_record(tmp_path: Path) -> MakeRecord:
    """Return a function that writes `NAME.hea` and `NAME.mat` as the challenge does, and gives the header's path."""

    def make(
        name: str = "A0001",
        adu: np.ndarray | None = None,
        leads: tuple[str, ...] = LEADS,
        gain: str = "1000/mV",
        dx: str = "426783006",
        fs: str = "500",
        folder: Path | None = None,
        zero: int = 0,
    ) -> Path:
        stored = np.random.default_rng(0).integers(-500, 500, (len(leads), 1000)) if adu is None else adu
        lines = [f"{name} {len(leads)} {fs} {stored.shape[1]} 05-Feb-2020 11:39:16"]
        for lead, row in zip(leads, stored, strict=True):
            checksum = int(np.int64(row).sum()) % 65536
            lines.append(f"{name}.mat 16+24 {gain} 16 {zero} {row[0]} {checksum} 0 {lead}")
        lines += ["#Age: 74", "#Sex: Male", f"#Dx: {dx}", "#Rx: Unknown", "#Hx: Unknown", "#Sx: Unknown"]
        place = (folder or tmp_path) / f"{name}.hea"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("\n".join(lines) + "\n", encoding="utf-8")
        content = bytes(24) + np.ascontiguousarray(stored.T).astype("<i2").tobytes()
        place.with_suffix(".mat").write_bytes(content)
        return place

    return make
