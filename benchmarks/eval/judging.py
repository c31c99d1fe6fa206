"""What judging text costs beside the judge itself, on one core: the findings score, and asking an endpoint.

The endpoint is the rehearsal's stand-in on this machine; beside our client, which checks, retries and
counts, stands a bare loop of httpx that posts the same questions and reads the same JSON.

    python benchmarks/eval/judging.py [--answers 2000] [--questions 300] [--repeats 3] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one core; before numpy is loaded

import httpx

from eval.entities import counts
from eval.judge.client import Endpoint, JudgeClient
from eval.judge.rubrics import rubric
from runner.judging.stand_in import stand_in

ASKED = rubric("pulse_report_10")
REPORT = (
    "Sinus rhythm, normal axis. No ST elevation or depression. T waves are inverted in V1 to V3; left bundle branch "
    "block, suspicion of left atrial enlargement. Inferior infarction cannot be excluded."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--answers", type=int, default=2000)
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print JSON only")
    arguments = parser.parse_args()
    rows = findings_rows(arguments) + asking_rows(arguments)
    if arguments.json:
        print(json.dumps(rows))
        return
    for row in rows:
        print(f"{row['what']:<52}{row['per_s']:>10,.0f} /s{row.get('ratio', ''):>8}")


def findings_rows(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Answers compared per second, of one report's length and of ten."""
    rows = []
    for times in (1, 10):
        answer, reference = " ".join([REPORT] * times), " ".join([REPORT.replace("No ", "")] * times)
        count = arguments.answers // times
        spent = timed(lambda a=answer, b=reference, n=count: [counts(a, b) for _ in range(n)], arguments)
        rows.append({"what": f"findings, {len(answer):,} characters", "per_s": round(count / spent)})
    return rows


def asking_rows(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Questions asked per second by us and by a bare loop, one at a time and four."""
    questions = [ASKED.messages(REPORT, f"{REPORT} {number}") for number in range(arguments.questions)]
    rows = []
    with stand_in() as url, JudgeClient(Endpoint(url, "m")) as client, httpx.Client() as bare:
        body = {**client._body([], ASKED.schema)}

        def ours(messages: list[dict[str, str]]) -> object:
            return client.ask(messages, ASKED.schema, ASKED.read)

        def loop(messages: list[dict[str, str]]) -> object:
            got = bare.post(f"{url}/chat/completions", json={**body, "messages": messages}).json()
            return json.loads(got["choices"][0]["message"]["content"])

        for threads in (1, 4):
            with ThreadPoolExecutor(threads) as pool:
                spent = [
                    timed(lambda a=ask, p=pool: list(p.map(a, questions)), arguments) for ask in (ours, loop)
                ]
            rows.append(
                {
                    "what": f"questions, {threads} at a time (ratio: bare httpx / ours)",
                    "per_s": round(len(questions) / spent[0]),
                    "ratio": round(spent[1] / spent[0], 2),
                }
            )
    return rows


def timed(work: Callable[[], object], arguments: argparse.Namespace) -> float:
    """Return the median seconds of a piece of work."""
    spent = []
    for _ in range(arguments.repeats):
        start = time.perf_counter()
        work()
        spent.append(time.perf_counter() - start)
    return statistics.median(spent)


if __name__ == "__main__":
    main()
