"""Generates Python packages of the shape that numpy, scipy and pandas have to a file system.

    generate_packages.py packages SITE PYTHON   prints the import statement that loads them
    generate_packages.py filler SITE ENTRIES    modules that nobody imports

Importing the packages touches some 850 paths and reads some 34 MB, as the real ones do: several hundred modules in
nested packages, and large extension modules, compiled if there is a C compiler. The same arguments give the same files.
"""

import os
import random
import shutil
import subprocess
import sys

PACKAGES = ("wood_a", "wood_b", "wood_c")
SUBPACKAGES = 18
MODULES = 6
EXTENSIONS = 10
# Bytes of text in a module, which its bytecode holds once more.
MODULE_TEXT = 24_000
# Bytes of data in an extension module; all of it is read when it is loaded.
EXTENSION_DATA = 700_000

EXTENSION_SOURCE = """
#define PY_SSIZE_T_CLEAN
#include <Python.h>
static const unsigned char data[%(size)d] = { 1, 2, 3 };
static struct PyModuleDef module = { PyModuleDef_HEAD_INIT, "%(name)s", 0, -1, 0 };
PyMODINIT_FUNC PyInit_%(name)s(void) {
    volatile unsigned long sum = 0;
    for (unsigned long at = 0; at < sizeof data; at += 4096) sum += data[at];
    return PyModule_Create(&module);
}
"""


def main():
    what, site, argument = sys.argv[1:]
    if what == "filler":
        return fill(site, int(argument))
    for package in PACKAGES:
        write_package(site, package, argument)
    print("import " + ", ".join(PACKAGES))


def write_package(site, package, python):
    chance = random.Random(package)
    root = os.path.join(site, package)
    extensions = compile_extensions(root, package, python)
    imports = [f"from . import {name}" for name in extensions]
    for number in range(SUBPACKAGES):
        name = f"part{number:02}"
        imports.append(f"from . import {name}")
        write_part(os.path.join(root, name), chance)
    write(os.path.join(root, "__init__.py"), "\n".join(imports) + "\n")


def write_part(directory, chance):
    names = [f"module{number}" for number in range(MODULES)]
    write(os.path.join(directory, "__init__.py"), "".join(f"from . import {name}\n" for name in names))
    for name in names:
        write(os.path.join(directory, name + ".py"), module(chance))
    # What real packages bring along and nobody imports: their tests.
    for number in range(2 * MODULES):
        write(os.path.join(directory, "tests", f"test_{number}.py"), "def test():\n    assert True\n")


def module(chance):
    words = " ".join("%08x" % chance.getrandbits(32) for _ in range(MODULE_TEXT // 9))
    functions = "".join(f"def function{n}(x):\n    return x + {chance.getrandbits(16)}\n\n" for n in range(20))
    return f'"""{words}"""\n\n{functions}'


def compile_extensions(root, package, python):
    """Gives the names of those made; without a compiler or Python's headers there are none."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    query = "import sysconfig; print(sysconfig.get_path('include')); print(sysconfig.get_config_var('EXT_SUFFIX'))"
    # The headers belong to the Python that was copied, not to the copy.
    include, suffix = subprocess.check_output([sys.executable, "-c", query], text=True).split()
    if not compiler or not os.path.exists(os.path.join(include, "Python.h")):
        print("generate_packages: no C compiler or no Python.h, so no extension modules", file=sys.stderr)
        return []
    names = [f"fast_{package}_{number}" for number in range(EXTENSIONS)]
    for name in names:
        source = os.path.join(root, name + ".c")
        write(source, EXTENSION_SOURCE % {"name": name, "size": EXTENSION_DATA})
        target = os.path.join(root, name + suffix)
        subprocess.check_call([compiler, "-O1", "-shared", "-fPIC", "-I", include, "-o", target, source])
        os.remove(source)
    return names


def fill(site, entries):
    """Writes modules, 30 to a directory; each is two entries once it is compiled."""
    directory, number = 0, 0
    while entries > 2:
        if number % 30 == 0:
            directory += 1
            entries -= 2
        write(os.path.join(site, "filler", f"part{directory:03}", f"module{number}.py"), f"NUMBER = {number}\n")
        number += 1
        entries -= 2


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


if __name__ == "__main__":
    main()
