"""What the hook costs: python3 benches/track/hook_cost.py PYTHON [RUNS]

PYTHON has numpy, scipy and pandas (a virtual environment). With and without the hook in turn, warm: medians of user and
system time and of the time on the clock, the median of the pairs' ratios with their quartiles. Where valgrind is there,
instructions too, with a fixed seed of hashes: they hardly differ from run to run, however busy the machine is.

With ONE_THREAD=1 in the environment OpenBLAS starts no threads, which wait in a loop and make most of the noise.
"""

import os
import random
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

# As the first interpreter of a run, for which nothing is compiled yet.
FIRST = "pass # first"
CASES = (("import numpy, scipy, scipy.stats, pandas", 1), ("pass", 2), (FIRST, 2))


def once(python, source, variables):
    if source == FIRST:
        forget_bytecode(variables)
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([python, "-c", source], env=variables, check=True)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def forget_bytecode(variables):
    hook = variables.get("PYTHONPATH", "/nowhere")
    shutil.rmtree(hook + "/__pycache__", ignore_errors=True)


def instructions(python, source, variables, place):
    """Of the program alone, without the kernel's."""
    if source == FIRST:
        forget_bytecode(variables)
    variables = dict(variables, PYTHONHASHSEED="0", OPENBLAS_NUM_THREADS="1")
    command = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=" + place + "/counts"]
    done = subprocess.run(command + [python, "-c", source], env=variables, check=True, stderr=subprocess.PIPE)
    return int(re.search(rb"I +refs: +([0-9,]+)", done.stderr)[1].replace(b",", b""))


def compare(python, source, runs, plain, tracked):
    without, having = [], []
    for turn in range(runs + 2):
        pair = [(plain, without), (tracked, having)]
        random.shuffle(pair)
        for variables, list_of_times in pair:
            measured = once(python, source, variables)
            # The first two find cold caches.
            if turn > 1:
                list_of_times.append(measured)
    for column, what in enumerate(("user and system", "clock")):
        a, b = (1e3 * statistics.median(times[column] for times in list_) for list_ in (without, having))
        low, pairs, high = statistics.quantiles(
            (with_[column] / plain_[column] for plain_, with_ in zip(without, having)), n=4)
        print("%s: %s: %.1f ms without, %.1f ms with, %+.2f ms, %.4f, pairs %.4f (%.4f to %.4f)"
              % (source, what, a, b, b - a, b / a, pairs, low, high), flush=True)


def main():
    python, runs = sys.argv[1], int((sys.argv + ["25"])[2])
    sources = os.path.join(os.path.dirname(__file__), "../../src/track")
    place = tempfile.mkdtemp(dir="/dev/shm")
    os.mkdir(place + "/hook")
    with open(place + "/hook/sitecustomize.py", "w") as hook:
        for part in ("hook.py", "enter.py"):
            with open(os.path.join(sources, part)) as text:
                hook.write(text.read())
    shutil.copy(os.path.join(sources, "noting.py"), place + "/hook")
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    if os.environ.get("ONE_THREAD"):
        plain["OPENBLAS_NUM_THREADS"] = "1"
    tracked = dict(plain, SPINNEY_TRACK=place, PYTHONPATH=place + "/hook")
    for source, times in CASES:
        compare(python, source, runs * times, plain, tracked)
        if shutil.which("valgrind"):
            a, b = (instructions(python, source, variables, place) for variables in (plain, tracked))
            print("%s: million instructions: %.2f without, %.2f with, %+.2f, %.4f"
                  % (source, a / 1e6, b / 1e6, (b - a) / 1e6, b / a), flush=True)
    shutil.rmtree(place)


main()
