"""Notes which modules this interpreter imports, for `spinney track` (docs/TRACKING.md).

Silent unless SPINNEY_TRACK names a directory. Wraps the one function of importlib that every first import passes
through, and only calls it: finders, loaders, specs, order and errors are Python's own. It imports nothing that an
interpreter has not imported at its start, starts no process, keeps no file open, and never raises into the program.

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
    ident, getpid, frame_of = threads.get_ident, posix.getpid, sys._getframe
    real, values_of = bootstrap._find_and_load, object.__getattribute__
    library = os.path.dirname(os.__file__) + "/"
    importlib_files = "<frozen importlib", library + "importlib/__init__.py"
    # What is imported on the way in is nobody's wish.
    kinds = {sys._getframe().f_code.co_filename: 0}
    stacks, scanned, listed, waiting, number = {}, set(), set(), [], 0
    # Of this process: its file, how many bytes that may still take, who writes.
    pid, record, left, lock = 0, None, 0, None

    def kind_of(file):
        """Of the code in a file: 1 the user's own, 0 of the standard library or a package, 2 of importlib."""
        kind = 1
        if file.startswith(importlib_files):
            kind = 2
        elif file.startswith(("<frozen", library)) or "/site-packages/" in file or "/dist-packages/" in file:
            kind = 0
        kinds[file] = kind
        return kind

    def note(name, own, total, order, frame, urgent):
        asked, by = 2, None
        while frame is not None:
            code = frame.f_code
            file = code.co_filename
            asked = kinds[file] if file in kinds else kind_of(file)
            if asked < 2:
                by = frame.f_globals.get("__name__")
                break
            frame = frame.f_back
        if getpid() != pid:
            begin()
        if asked == 1:
            urgent = True
            if code not in scanned:
                if len(scanned) < 4096:
                    scanned.add(code)
                asks = _names_asked(code)
                if asks:
                    waiting.append(line("asks", *asks))
        if name in modules:
            waiting.append((order, name, values_of(modules[name], "__dict__"), own, total, asked == 1, by))
        if urgent or len(waiting) > 31:
            write()

    def described(lines, order, name, values, own, total, asked, by):
        """The line of an import; made when it is written."""
        try:
            spec = values["__spec__"]
            origin, places = spec.origin, spec.submodule_search_locations
        except Exception:
            origin = places = None
        place = version = ""
        flags = "a" if asked else ""
        if places is not None:
            flags += "p"
            if origin is None or origin == "namespace":
                place = text_of((places if type(places) is list else places._path)[0])
        if type(origin) is not str:
            origin = ""
        if "." not in name:
            version = text_of(values.get("__version__"))
            list_beside(lines, place or origin, places is not None and not place)
        text = f"{name}{origin}{place}{version}{by}"
        if len(text) > 4096 or "\n" in text or "\t" in text or "\\" in text or type(by) is not str:
            name, origin, place, version, by = map(escape, (name, origin, place, version, by))
        return (f"m\t{order}\t{name}\t{origin}\t{place}\t{version}\t{int(own * 1e6)}\t{int(total * 1e6)}\t"
                f"{flags}\t{by}\n")

    def list_beside(lines, place, is_within):
        """What is installed in the directory of a module, from the listing that Python's own finder holds."""
        directory = place.rpartition("/")[0]
        if is_within:
            directory = directory.rpartition("/")[0]
        if directory not in listed:
            listed.add(directory)
            names = getattr(path_importers.get(directory), "_path_cache", ())
            names = [name for name in names if name.endswith((".dist-info", ".egg-info"))]
            if names:
                lines.append(line("listed", directory, *names))

    def begin():
        """A process that is new: what its parent has not yet written is the parent's."""
        nonlocal pid, record, left, lock
        # A lock of its own: another thread of the parent may have held the old one.
        pid, left, lock = getpid(), 8 << 20, threads.allocate_lock()
        record = "%s/%d-%d.rec" % (directory, pid, clock() * 1e9)
        listed.clear()
        version = "%d.%d.%d" % sys.version_info[:3]
        waiting[:] = [line("py", "%d" % pid, "%.6f" % now(), version, sys.implementation.name, sys.executable,
                           sys.prefix, sys.base_prefix, library)]

    def flush():
        nonlocal left
        entries, lines = waiting[:], []
        del waiting[:len(entries)]
        for entry in entries:
            try:
                lines.append(entry if type(entry) is str else described(lines, *entry))
            except Exception:
                pass
        data = "".join(lines).encode("utf-8", "replace")
        left -= len(data)
        if left < 0:
            return
        to = posix.open(record, opening, 0o600)
        try:
            if posix.write(to, data) != len(data):
                left = 0
        finally:
            posix.close(to)

    def write():
        # Never waits. Whoever holds the lock looks again after it let go, so nothing stays.
        while waiting and lock.acquire(False):
            try:
                flush()
            finally:
                lock.release()

    def _find_and_load(name, import_):
        nonlocal number
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
                    note(name, own, total, order, frame_of(1), not stack)
            except Exception:
                pass

    line, text_of, escape, path_importers = _line, _text_of, _escape, sys.path_importer_cache
    opening = posix.O_WRONLY | posix.O_APPEND | posix.O_CREAT | posix.O_CLOEXEC | posix.O_NOFOLLOW
    # Frames of this file name are what Python leaves out of the tracebacks of failed imports.
    _find_and_load.__code__ = _find_and_load.__code__.replace(co_filename=real.__code__.co_filename)
    _find_and_load.__module__, _find_and_load.__qualname__ = real.__module__, real.__qualname__
    _find_and_load._spinney = True
    bootstrap._find_and_load = _find_and_load
    # Even one that imports nothing has been here.
    begin()
    write()


def _text_of(value):
    return value[:4096] if type(value) is str else ""


def _escape(value):
    return _text_of(value).replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")


def _line(*fields):
    return "\t".join([_escape(field) for field in fields]) + "\n"


def _import_one():
    import sys
    return sys


def _names_asked(code):
    """What a piece of code imports by name, cached modules too: read from its instructions."""
    version = _import_one().version_info[:2]
    operation = _import_one.__code__.co_code[6 if version >= (3, 11) else 4]
    # EXTENDED_ARG, which comes before the 257th name.
    extended = {(3, 13): 71, (3, 14): 69}.get(version, 144)
    found, waiting = [], [code]
    while waiting and len(found) < 1000:
        code = waiting.pop()
        steps, names = code.co_code, code.co_names
        place = steps.find(operation)
        while place >= 0:
            # Instructions stand at even places, what they are given at odd ones.
            if not place & 1:
                at, before, shift = steps[place + 1], place - 2, 8
                while before >= 0 and steps[before] == extended:
                    at |= steps[before + 1] << shift
                    before, shift = before - 2, shift + 8
                if names[at] and names[at] not in found:
                    found.append(names[at])
            place = steps.find(operation, place + 1)
        waiting.extend([const for const in code.co_consts if type(const) is type(code)])
    return found


try:
    _spinney_track()
except Exception:
    pass
