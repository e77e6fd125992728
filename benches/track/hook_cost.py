"""What the hook costs: python3 benches/track/hook_cost.py PYTHON [RUNS]

PYTHON has numpy, scipy and pandas (a virtual environment). With and without the hook in turn, warm; medians of user and
system time, and of the time on the clock.
"""

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

CASES = (("import numpy, scipy, scipy.stats, pandas", 1), ("pass", 2))


def once(python, source, variables):
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([python, "-c", source], env=variables, check=True)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def main():
    python, runs = sys.argv[1], int((sys.argv + ["25"])[2])
    sources = os.path.join(os.path.dirname(__file__), "../../src/track")
    place = tempfile.mkdtemp(dir="/dev/shm")
    os.mkdir(place + "/hook")
    with open(place + "/hook/sitecustomize.py", "w") as hook:
        for part in ("hook.py", "enter.py"):
            with open(os.path.join(sources, part)) as text:
                hook.write(text.read())
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    tracked = dict(plain, SPINNEY_TRACK=place, PYTHONPATH=place + "/hook")
    for source, times in CASES:
        without, having = [], []
        for turn in range(runs * times + 2):
            pair = [(plain, without), (tracked, having)]
            for variables, list_of_times in pair if turn % 2 else reversed(pair):
                measured = once(python, source, variables)
                if turn > 1:
                    list_of_times.append(measured)
        for column, what in enumerate(("user and system", "clock")):
            a, b = (1e3 * statistics.median(times[column] for times in list_) for list_ in (without, having))
            pairs = statistics.median(with_[column] / plain_[column] for plain_, with_ in zip(without, having))
            print("%s: %s: %.1f ms without, %.1f ms with, %+.2f ms, %.4f, pairs %.4f"
                  % (source, what, a, b, b - a, b / a, pairs))
    shutil.rmtree(place)


main()
