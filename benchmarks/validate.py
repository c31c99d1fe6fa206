"""How long `runner validate` takes: cold, from process start to end, and over 1,000 specs in one process.

Each is the median over whole processes, beside the time of an interpreter that does nothing, since both grow on a busy
machine: with every file checked (`--no-cache`), and with all found sound by an earlier process. The 1,000 specs are
those of specs/, each changed a little, in a temporary folder; every tenth has a key that nobody knows. Prints a table
and JSON.

    python benchmarks/validate.py --repeats 21 --specs 1000
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
SPECS = ROOT / "specs"
TARGET_MS = 250.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=21, help="processes started for each cold number")
    parser.add_argument("--specs", type=int, default=1000)
    arguments = parser.parse_args()
    validate = [sys.executable, "-m", "runner", "validate"]
    asked = {
        "an interpreter that does nothing": [sys.executable, "-c", ""],
        "one spec, checked": [*validate, "specs/quickstart/llm.yaml", "--no-cache"],
        "all specs, checked": [*validate, "specs", "--no-cache"],
        "all specs, checked, --sarif": [*validate, "specs", "--no-cache", "--sarif"],
        "all specs, found sound before": [*validate, "specs"],
    }
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        subprocess.run([*validate, "specs"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        rows = [cold(what, command, arguments.repeats) for what, command in asked.items()]
    result = {"cold": rows, "many": many(arguments.specs), "target_ms": TARGET_MS}
    print(f"{'cold, ms':<36}{'median':>8}{'min':>8}{'max':>8}{'cpu':>8}")
    for row in rows:
        print(f"{row['what']:<36}{row['median_ms']:>8}{row['min_ms']:>8}{row['max_ms']:>8}{row['cpu_ms']:>8}")
    print(
        "{specs} specs in one process: {seconds} s, {ms_each} ms each, {problems} problems; "
        "load and check, without the start".format(**result["many"])
    )
    print(json.dumps(result))


def cold(what: str, command: list[str], repeats: int) -> dict[str, str | float]:
    """Return wall times of whole processes, and the median of the CPU time that they used; all in ms."""
    wall, cpu = [], []
    for _ in range(repeats + 1):
        before, start = os.times(), time.perf_counter()
        subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        wall.append((time.perf_counter() - start) * 1000)
        after = os.times()
        cpu.append(1000 * (after[2] + after[3] - before[2] - before[3]))  # of children
    wall, cpu = wall[1:], cpu[1:]  # the first one fills the disk cache
    return {
        "what": what,
        "median_ms": round(statistics.median(wall)),
        "min_ms": round(min(wall)),
        "max_ms": round(max(wall)),
        "cpu_ms": round(statistics.median(cpu)),
    }


def many(count: int) -> dict[str, float]:
    """Return how long `count` specs take in this process, from finding the files to the last problem."""
    from runner.spec_files import find_specs
    from runner.validate_many import problems_in

    texts = [
        re.sub(
            r"^extends: ", f"extends: {path.parent}/", path.read_text(encoding="utf-8"), flags=re.MULTILINE
        )
        for path in find_specs([SPECS])
    ]
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            text = texts[number % len(texts)].replace("\nname: ", f"\nname: n{number}-", 1)
            wrong = f"{text}\nnmae: one more\n" if number % 10 == 9 else text
            Path(folder, f"{number:05}.yaml").write_text(wrong, encoding="utf-8")
        start = time.perf_counter()
        problems = problems_in(find_specs([Path(folder)]), [], {})
        seconds = time.perf_counter() - start
    expected = count // 10
    if len(problems) != expected:
        raise SystemExit(f"{len(problems)} problems instead of {expected}: the benchmark is wrong")
    return {
        "specs": count,
        "problems": len(problems),
        "seconds": round(seconds, 2),
        "ms_each": round(1000 * seconds / count, 2),
    }


if __name__ == "__main__":
    main()
