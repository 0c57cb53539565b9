"""Times `xpet translate` against Argos' own API and against itself; prints the ratios with their bars first.

    python -m tests.bench.bench_translate [--what api|million|cached|cold|gpu|all] [--smoke] [--json FILE]

- api: 1,000 made-up captions through a package of the real ones' size (tests.bench.big: random weights, translations as
  long as their sources on both sides, so both do the same decoding). Argos' unpatched API translates line by line with
  the model loaded before, in a process of its own (xpet never imports it), on a sample of the lines; xpet's whole job
  (empty cache, model loading, quality control, retries) on all of them. In turns, in rounds; medians over the rounds.
- million: 1,000,000 short lines through the tiny package of tests.translation.toy with --fast, against 10,000 lines
  before and after; peak memory of the command's process. At beam 1 the model hides least of what else may grow.
- cached: 100,000 lines, all in the cache.
- cold: from the start of the command to the first byte of its output, one line, the demo's package, nothing in the
  cache: not even the unpacked packages.
- gpu (not part of all): the captions of api, ten times as many, on a GPU against the CPU, and how many come out alike.

Wall-clock ratios suffer on a shared machine; CPU-second ratios of the same runs stand beside them. OMP_NUM_THREADS is
unset for every side: its default is what a user has.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench import big
from tests.translation import toy
from xpet.core.config import TranslateConfig
from xpet.jobs.translate.run import run

API = """
import json, sys, time
from argostranslate import translate
for line in sys.stdin:
    wall, cpu = time.perf_counter(), time.process_time()
    out = [translate.translate(text, "de", "en") for text in json.loads(line)]
    print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu, out]), flush=True)
"""
FULL = {"captions": 1000, "sample": 20, "rounds": 3, "pieces": 32_000, "layers": 6, "cli": 3,
        "million": 1_000_000, "small": 10_000, "cached": 100_000, "repeats": 5}  # fmt: skip
SMOKE = {"captions": 4, "sample": 2, "rounds": 1, "pieces": 300, "layers": 1, "cli": 0,
         "million": 400, "small": 200, "cached": 200, "repeats": 1}  # fmt: skip


class Row(NamedTuple):
    """A measured number; `least` and `most` are its bar, where it has one."""

    name: str
    value: float
    unit: str
    least: float | None = None
    most: float | None = None

    def __str__(self) -> str:
        bar = "" if self.least is None else f"at least {self.least:,g}"
        bar = bar if self.most is None else f"under {self.most:,g}"
        held = "held" if self.value >= (self.least or 0.0) and self.value < (self.most or float("inf")) else "MISSED"
        return f"{self.name:<52}{self.value:>14,.2f} {self.unit:<10}{f'{bar}: {held}' if bar else ''}".rstrip()


class Done(NamedTuple):
    """A finished command: seconds from start to end, its CPU-seconds, peak memory in MB, its --json document."""

    wall: float
    cpu: float
    peak: float
    facts: dict[str, Any]


def environment(root: Path, packages: str) -> dict[str, str]:
    """A home of its own with the packages of that name."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "ARGOS_", "XDG_", "CT2_"))}
    names = ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")
    own = {name: str(root / "home") for name in names}
    own |= {"ARGOS_PACKAGES_DIR": str(root / packages), "XPET_CACHE": str(root / "cache")}
    return {**kept, **own, "ORT_DISABLE_TELEMETRY": "1"}


def command(root: Path, source: Path, cache: str, *options: str) -> Done:
    """The command on a file through the tiny package, watched."""
    started = time.perf_counter()
    arguments = ["translate", str(source), "--from", "de", "--to", "en", "-o", str(root / "out.txt"), "--json", "-q"]
    process = subprocess.Popen(
        [sys.executable, "-m", "xpet", *arguments, *options], stdout=subprocess.PIPE,
        env={**environment(root, "tiny"), "XPET_CACHE": str(root / cache)},
    )  # fmt: skip
    peak = 0.0
    while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
        peak = max(peak, _peak(process.pid))
        time.sleep(0.01)
    wall = time.perf_counter() - started
    assert process.stdout is not None
    process.returncode = os.waitstatus_to_exitcode(ended[1])
    assert process.returncode == 0, "the command failed"
    return Done(wall, ended[2].ru_utime + ended[2].ru_stime, peak, json.loads(process.stdout.read()))


def _peak(pid: int) -> float:
    """The process's own high-water mark in MB (Linux); ru_maxrss would count the parent's too."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1000 for line in status.splitlines() if line.startswith("VmHWM")), 0.0)


def short_lines(path: Path, count: int, seed: int = 0) -> float:
    """Writes lines of five to eight words the tiny package knows; the share of distinct ones."""
    rng, known = random.Random(seed), list(toy.GERMAN)
    distinct = set()
    with path.open("w") as file:
        for _ in range(count):
            line = " ".join(rng.choices(known, k=rng.randint(5, 8)))
            distinct.add(hash(line))
            file.write(line + "\n")
    return len(distinct) / count


def api(root: Path, size: dict[str, int]) -> list[Row]:
    """xpet's job against Argos' API, in turns."""
    toy.unpack(root / "big", "de_en", big.files("de", "en", root / "scratch", size["pieces"], size["layers"]))
    lines = big.captions(size["captions"], big.words(size["pieces"] - 100))
    outside = environment(root, "big")
    worker = subprocess.Popen(
        [sys.executable, "-c", API], env=outside, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    os.environ |= outside
    speeds: dict[str, list[tuple[float, float]]] = {"api": [], "xpet": [], "fast": []}  # lines per second, per CPU-s
    same = compared = retried = flagged = 0
    _ask(worker, lines[:1])  # loads its model
    for number in range(size["rounds"]):
        asked = lines[number :: size["sample"]]
        wall, cpu, theirs = _ask(worker, asked)
        speeds["api"].append((len(asked) / wall, len(asked) / cpu))
        for name in ("xpet", "fast"):
            mine, result, times = _job(root, lines, f"{name}{number}", name == "fast")
            speeds[name].append((len(lines) / times[0], len(lines) / times[1]))
            if name == "xpet":
                same += sum(a == b for a, b in zip(mine[number :: size["sample"]], theirs, strict=True))
                compared += len(theirs)
                retried, flagged = retried + result.retried, flagged + result.flagged_lines
    assert worker.stdin is not None
    worker.stdin.close()
    worker.wait()
    rows = []
    for name, label, least in (("xpet", "beam 4", 4.0), ("fast", "--fast", 12.0)):
        pairs = list(zip(speeds[name], speeds["api"], strict=True))
        for place, unit in ((0, "x"), (1, "x of CPU")):
            ratio = statistics.median(mine[place] / theirs[place] for mine, theirs in pairs)
            rows.append(Row(f"api: xpet {label} against Argos' API", ratio, unit, least if place == 0 else None))
    for name, values in speeds.items():
        rows.append(Row(f"api: {name}", statistics.median(v[0] for v in values), "lines/s"))
        rows.append(Row(f"api: {name}", statistics.median(v[1] for v in values), "lines/CPU-s"))
    rows.append(Row(f"api: same as the API's, of {compared}", same, "lines"))
    rows += [Row("api: retried with effect", retried, "lines"), Row("api: still flagged", flagged, "lines")]
    return rows + (_cli(outside, lines[: size["cli"]]) if size["cli"] else [])


def gpu(root: Path, size: dict[str, int]) -> list[Row]:
    """The whole job on a GPU against the same on the CPU, with an empty cache each."""
    import ctranslate2

    if not ctranslate2.get_cuda_device_count():
        raise SystemExit("--what gpu: CTranslate2 finds no GPU here; nothing was measured")
    toy.unpack(root / "big", "de_en", big.files("de", "en", root / "scratch", size["pieces"], size["layers"]))
    lines = big.captions(10 * size["captions"], big.words(size["pieces"] - 100))
    os.environ |= environment(root, "big")
    few, speeds, texts = lines[: size["captions"]], {}, {}
    _job(root, few[:1], "first", False, "cuda")  # the first call of a process loads what it computes with
    for name, given in (("cpu", few), ("cuda", lines)):
        texts[name], _, (wall, _) = _job(root, given, f"on {name}", False, name)
        speeds[name] = len(given) / wall
    alike = sum(one == other for one, other in zip(texts["cpu"], texts["cuda"], strict=False))
    return [
        Row("gpu: against the CPU, beam 4", speeds["cuda"] / speeds["cpu"], "x"),
        *(Row(f"gpu: on {name}", speed, "lines/s") for name, speed in speeds.items()),
        Row(f"gpu: same as the CPU's, of {len(few)}", alike, "lines"),
    ]


def _ask(worker: subprocess.Popen[str], lines: list[str]) -> tuple[float, float, list[str]]:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(json.dumps(lines) + "\n")
    worker.stdin.flush()
    wall, cpu, out = json.loads(worker.stdout.readline())
    return wall, cpu, out


def _job(
    root: Path, lines: list[str], cache: str, fast: bool, device: str = "cpu"
) -> tuple[list[str], Any, tuple[float, float]]:
    """Lines through the job with an empty cache: translations, result, seconds and CPU-seconds."""
    source, out = root / "in.txt", root / "out.txt"
    source.write_text("\n".join(lines) + "\n")
    os.environ["XPET_CACHE"] = str(root / cache)
    wall, cpu = time.perf_counter(), time.process_time()
    result = run(TranslateConfig("de", "en", str(source), str(out), fast=fast, device=device))
    times = time.perf_counter() - wall, time.process_time() - cpu
    assert result.cached == 0
    return out.read_text().splitlines(), result, times


def _cli(outside: dict[str, str], lines: list[str]) -> list[Row]:
    started = time.perf_counter()
    program = Path(sys.executable).with_name("argos-translate")
    for line in lines:
        subprocess.run(
            [program, "--from-lang", "de", "--to-lang", "en", line], env=outside, check=True, capture_output=True
        )
    return [Row("api: argos-translate started per line", len(lines) / (time.perf_counter() - started), "lines/s")]


def million(root: Path, size: dict[str, int]) -> list[Row]:
    """Very many lines against some."""
    large, small, one = root / "large.txt", root / "small.txt", root / "one.txt"
    distinct = short_lines(large, size["million"])
    short_lines(small, size["small"], seed=1)
    short_lines(one, 1)
    start = statistics.median(command(root, one, f"one{n}", "--fast").wall for n in range(size["repeats"]))
    few = [command(root, small, f"few{n}", "--fast") for n in range(size["repeats"])]
    many = command(root, large, "many", "--fast")
    few += [command(root, small, f"more{n}", "--fast") for n in range(size["repeats"])]
    count, less = size["million"], size["small"]
    steady = less / statistics.median(max(done.wall - start, 1e-3) for done in few)
    whole = less / statistics.median(done.wall for done in few)
    cpu = less / statistics.median(done.cpu for done in few)
    return [
        Row("million: throughput of 10,000, without start", count / (many.wall - start) / steady, "x", least=0.9),
        Row("million: peak memory", many.peak, "MB", most=500.0),
        Row("million: throughput of 10,000, with start", count / many.wall / whole, "x"),
        Row("million: throughput of 10,000, with start", count / many.cpu / cpu, "x of CPU"),
        Row("million: all lines", count / many.wall, "lines/s"),
        Row("million: 10,000 lines, without start", steady, "lines/s"),
        Row("million: distinct lines", 100 * distinct, "%"),
        Row("million: flagged", many.facts["flagged_lines"], "lines"),
        Row("million: peak memory of 10,000", max(done.peak for done in few), "MB"),
        Row("million: size of the cache", (root / "many" / "translations.sqlite").stat().st_size / 1e6, "MB"),
    ]


def cached(root: Path, size: dict[str, int]) -> list[Row]:
    """Nothing left to translate."""
    source = root / "cached.txt"
    distinct = short_lines(source, size["cached"], seed=2)
    command(root, source, "cached", "--fast")
    runs = [command(root, source, "cached", "--fast") for _ in range(max(size["repeats"] * 2 - 1, 1))]
    assert all(done.facts["translated"] == 0 for done in runs)
    count = size["cached"]
    return [
        Row("cached", count / statistics.median(done.facts["seconds"] for done in runs), "lines/s", least=100_000.0),
        Row("cached: best run", count / min(done.facts["seconds"] for done in runs), "lines/s"),
        Row("cached: start of the command included", count / statistics.median(d.wall for d in runs), "lines/s"),
        Row("cached: start included, by CPU time", count / statistics.median(d.cpu for d in runs), "lines/CPU-s"),
        Row("cached: distinct lines", 100 * distinct, "%"),
    ]


def cold(root: Path, size: dict[str, int]) -> list[Row]:
    """From the start of the process to the first byte of a translation that is in no cache."""
    times = []
    for number in range(size["repeats"] * 2 - 1):
        own = {**environment(root, "tiny"), "XPET_CACHE": str(root / f"cold{number}")}
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "xpet", "translate", "--packages", "demo", "--from", "de", "--to", "en", "-q"],
            env=own, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"ein kleiner roter Ball\n")
        process.stdin.close()
        first = process.stdout.read(1)
        times.append(time.perf_counter() - started)
        assert first + process.stdout.read() == b"a small red ball\n"
        process.wait()
    return [Row("cold: start to first translation", statistics.median(times), "s", most=1.0),
            Row("cold: best run", min(times), "s")]  # fmt: skip


PARTS: dict[str, Callable[[Path, dict[str, int]], list[Row]]] = {
    "cold": cold, "cached": cached, "api": api, "million": million, "gpu": gpu,
}  # fmt: skip


def main(arguments: list[str] | None = None) -> list[Row]:
    """Measure and print; returns the rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--what", default="all", choices=(*PARTS, "all"))
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: only shows that every part runs")
    parser.add_argument("--json", help="also write the rows to this file")
    options = parser.parse_args(arguments)
    before = dict(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "home").mkdir()
        toy.unpack(root / "tiny", "de_en", toy.files("de", "en", toy.GERMAN, root / "scratch-tiny"))
        rows = []
        for name, part in PARTS.items():
            if options.what == name or (options.what == "all" and name != "gpu"):
                rows += part(root, SMOKE if options.smoke else FULL)
                os.environ.clear()
                os.environ |= before
    rows.sort(key=lambda row: row.least is None and row.most is None)
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    sys.stdout.write(f"{os.cpu_count()} cores, load {load}\n" + "".join(f"{row}\n" for row in rows))
    if options.json:
        Path(options.json).write_text(json.dumps([row._asdict() for row in rows], indent=2) + "\n")
    return rows


if __name__ == "__main__":
    main()
