"""Notes which modules this interpreter imports, for `spinney track` (docs/TRACKING.md).

Silent unless SPINNEY_TRACK names a directory. Wraps the one function of importlib that every first import passes
through, and only calls it: finders, loaders, specs, order and errors are Python's own. It imports nothing that an
interpreter has not imported at its start, starts no process, keeps no file open, and never raises into the program.
What is noted of an import is in `noting.py`: an interpreter that imports nothing need not even compile that.

It notes what only this process knows, and `seen.rs` makes of it what is told. A line has fields with tabs between them:
py      pid, seconds since 1970, version, implementation, executable, prefix, base prefix, standard library
m       number, name, origin, first search path, version, own and total microseconds, `a` asked for `p` package, by
asks    names that the user's own code imports
listed  directory, names of the distributions that are installed there
"""


def _spinney_track():
    import sys
    modules = sys.modules
    os, bootstrap = modules.get("os"), modules.get("_frozen_importlib")
    threads, posix = modules.get("_thread"), modules.get("posix")
    if None in (os, bootstrap, threads, posix) or sys.flags.ignore_environment:
        return
    directory = os.environ.get("SPINNEY_TRACK")
    if not directory or directory[0] != "/" or hasattr(bootstrap._find_and_load, "_spinney"):
        return
    time_was_here = "time" in modules
    from time import perf_counter as clock, time as now
    if not time_was_here:
        del modules["time"]
    library = os.path.dirname(os.__file__) + "/"
    ident, frame_of, real = threads.get_ident, sys._getframe, bootstrap._find_and_load
    stacks, number, note = {}, 0, None

    def begin():
        """Of this process, which is new: its number, its file, and the first line there."""
        pid = posix.getpid()
        version = "%d.%d.%d" % sys.version_info[:3]
        return pid, "%s/%d-%d.rec" % (directory, pid, clock() * 1e9), _line(
            "py", "%d" % pid, "%.6f" % now(), version, sys.implementation.name, sys.executable, sys.prefix,
            sys.base_prefix, library)

    def append(record, data):
        to = posix.open(record, opening, 0o600)
        try:
            return posix.write(to, data) == len(data)
        finally:
            posix.close(to)

    def _find_and_load(name, import_):
        nonlocal number, note
        if name in modules:
            return real(name, import_)
        try:
            me = ident()
            stack = stacks.get(me)
            if stack is None:
                stack = stacks[me] = []
            number += 1
            order = number
            stack.append(0.0)
            start = clock()
        except Exception:
            return real(name, import_)
        done = False
        try:
            module = real(name, import_)
            done = True
            return module
        finally:
            try:
                total = clock() - start
                own = total - stack.pop()
                if stack:
                    stack[-1] += total
                else:
                    del stacks[me]
                if done:
                    if note is None:
                        noting = _spinney_noting(begin, append, process, library)
                        # Of threads that come here at once the first.
                        note = note or noting
                    note(name, own, total, order, frame_of().f_back, not stack)
            except Exception:
                pass

    opening = posix.O_WRONLY | posix.O_APPEND | posix.O_CREAT | posix.O_CLOEXEC | posix.O_NOFOLLOW
    # Frames of this file name are what Python leaves out of the tracebacks of failed imports.
    _find_and_load.__code__ = _find_and_load.__code__.replace(co_filename=real.__code__.co_filename)
    _find_and_load.__module__, _find_and_load.__qualname__ = real.__module__, real.__qualname__
    _find_and_load._spinney = True
    bootstrap._find_and_load = _find_and_load
    process = begin()
    # Even one that imports nothing has been here.
    append(process[1], process[2].encode("utf-8", "replace"))


def _text_of(value):
    return value[:4096] if type(value) is str else ""


def _escape(value):
    return _text_of(value).replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")


def _line(*fields):
    return "\t".join([_escape(field) for field in fields]) + "\n"


try:
    _spinney_track()
except Exception:
    pass
