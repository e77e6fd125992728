#!/usr/bin/env python3
"""Generates N shared libraries that depend on each other, and a driver that loads them all and says how long it took.

    generate_libraries.py N DIRECTORY

Each library has some dozens of functions, calls into up to three earlier ones, and finds them beside itself ($ORIGIN).
Needs `cc`. Does nothing if DIRECTORY has them already.
"""

import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

FUNCTIONS = 40
DEPENDENCIES = 3

DRIVER = '''"""Loads every library of this directory in order and calls into each."""
import ctypes, os, time
here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib")
names = [line.strip() for line in open(os.path.join(here, "names"))]
start = time.perf_counter()
total = 0
for name in names:
    library = ctypes.CDLL(os.path.join(here, name), mode=ctypes.RTLD_GLOBAL)
    total += library[name[3:-3] + "_0"](1)
print("module import time = %.6f secs" % (time.perf_counter() - start))
'''


def source(number, dependencies, chance):
    lines = [f"int l{d:04}_0(int);" for d in dependencies]
    for function in range(FUNCTIONS):
        table = ",".join(str(chance.randrange(1000)) for _ in range(200))
        calls = "".join(f" + (x > 100 ? l{d:04}_0(x - 1) : 0)" for d in dependencies)
        lines.append(f"static const int t{function}[] = {{{table}}};")
        lines.append(f"int l{number:04}_{function}(int x) {{ return t{function}[x % 200] % 7{calls}; }}")
    return "\n".join(lines) + "\n"


def main():
    count, directory = int(sys.argv[1]), sys.argv[2]
    finished = directory + ".finished"
    if os.path.exists(finished):
        return
    libraries = os.path.join(directory, "lib")
    os.makedirs(libraries, exist_ok=True)
    chance = random.Random(500)  # the same libraries each time
    plan = []
    for number in range(count):
        dependencies = sorted(chance.sample(range(number), min(number, DEPENDENCIES)))
        plan.append((number, dependencies, source(number, dependencies, chance)))

    def compile_one(step):
        number, dependencies, text = step
        path = os.path.join(libraries, f"libl{number:04}.so")
        # Earlier ones need not exist to be linked against: symbols are found by the names that are needed.
        needed = [os.path.join(libraries, f"libl{d:04}.so") for d in dependencies]
        command = ["cc", "-shared", "-fPIC", "-O0", "-x", "c", "-", "-x", "none", *needed]
        command += ["-Wl,-rpath,$ORIGIN", f"-Wl,-soname,libl{number:04}.so", "-o", path]
        subprocess.run(command, input=text.encode(), check=True)

    waves, level = {}, {}
    for step in plan:
        level[step[0]] = 1 + max((level[d] for d in step[1]), default=0)
        waves.setdefault(level[step[0]], []).append(step)
    with ThreadPoolExecutor(2) as pool:
        for wave in sorted(waves):
            list(pool.map(compile_one, waves[wave]))
    with open(os.path.join(libraries, "names"), "w") as names:
        names.writelines(f"libl{number:04}.so\n" for number in range(count))
    with open(os.path.join(directory, "driver.py"), "w") as driver:
        driver.write(DRIVER)
    open(finished, "w").close()


main()
