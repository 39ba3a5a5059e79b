"""The table of side-by-side.sh.

    python side-by-side-table.py ROWS MODEL FLOW LOAD

LOAD is what the machine had to do before. A row of ROWS is: round, side (`ours`, `installed` or `fast`), work, seconds, CPU
seconds, MiB. Of several rows of one process the first warms up.
"""

import collections
import datetime
import importlib.metadata
import math
import os
import platform
import re
import statistics
import sys
from pathlib import Path

Took = collections.namedtuple("Took", "seconds cpu mib")
NAMES = {
    "picture": "mini-sdxl, 30 steps with guidance, whole process",
    "steps": "the same, steps only",
    "load": "checkpoint check and load of the denoiser",
    "text": "text encoders, one prompt",
    "decode": "VAE decode, {0} x {0}",
    "unet": "denoiser step with guidance, {0} x {0}",
    "fold": "folding a LoRA of rank 8 into the attention",
}


def read(path):
    """What each process took, by work and side, in the order of the rounds."""
    processes = collections.defaultdict(list)
    for line in open(path):
        round, side, work, *took = line.split()
        processes[work, side, int(round)].append(Took(*map(float, took)))
    found = collections.defaultdict(list)
    for (work, side, _), each in processes.items():
        counted = each[1:] or each
        seconds, cpu = statistics.median(t.seconds for t in counted), statistics.mean(t.cpu for t in counted)
        found[work, side].append(Took(seconds, cpu, max(t.mib for t in each)))
    return found


def name(work):
    kind, _, size = work.partition("-")
    return NAMES[kind].format(size)


def spread(values):
    return f"{statistics.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"


def median(took, field):
    return statistics.median(getattr(t, field) for t in took)


def row(work, found):
    ours, installed, fast = (found[work, side] for side in ("ours", "installed", "fast"))
    better = min((took for took in (installed, fast) if took), key=lambda took: median(took, "seconds"))
    seconds = [f"{median(took, 'seconds'):.3g}" if took else "" for took in (ours, installed, fast)]
    ratio = spread([a.seconds / b.seconds for a, b in zip(ours, better)])
    if math.isnan(ours[0].mib):  # a part of a process that stands in another row
        return [name(work), *seconds, ratio, "", ""]
    mib = f"{median(ours, 'mib'):.0f} / {median(better, 'mib'):.0f}"
    cpu, their_cpu = (sum(t.cpu for t in took) for took in (ours, better))
    # Ours is counted in hundredths of a second: of less than a tenth nothing can be said.
    return [name(work), *seconds, ratio, mib, f"{cpu / their_cpu:.2f}" if cpu >= 0.1 else ""]


def machine():
    model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores"


def main(rows, model, flow, load):
    found = read(rows)
    packages = ("torch", "diffusers", "transformers", "peft")
    versions = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in packages)
    print(f"{datetime.date.today()}, {machine()}, load before {load}; {flow}; {versions}; parts of {Path(model).name}\n")
    head = ["work", "ours, s", "diffusers as installed, s", "with MKL's fast path, s", "ratio to the better one"]
    head += ["peak anonymous memory, ours / diffusers, MiB", "CPU time ratio"]
    table = [head, ["---"] * len(head)] + [row(work, found) for work in dict.fromkeys(work for work, _ in found)]
    for cells in table if found else []:
        print("| " + " | ".join(cells) + " |")


main(*sys.argv[1:])
