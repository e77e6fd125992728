"""Notes which modules this interpreter imports, for `spinney track` (docs/TRACKING.md).

Silent unless SPINNEY_TRACK names a directory. Wraps the one function of importlib that every first import passes
through, and only calls it: finders, loaders, specs, order and errors are Python's own. It imports nothing that an
interpreter has not imported at its start, starts no process, keeps no file open, and never raises into the program.

A line of its file is a JSON list: ["proc", {...}] first, then ["asks", [name, ...]] and
["i", number, name, path, version, own_us, total_us, flags, by]. Flags: a asked for by the user's own code,
x extension, n namespace package, b built in, f frozen, s standard library, p package.
"""


def _spinney_track():
    import sys
    modules = sys.modules
    os, bootstrap = modules.get("os"), modules.get("_frozen_importlib")
    threads, posix = modules.get("_thread"), modules.get("posix")
    if None in (os, bootstrap, threads, posix) or sys.flags.ignore_environment:
        return
    directory = os.environ.get("SPINNEY_TRACK")
    if not directory or directory[0] != "/" or getattr(bootstrap._find_and_load, "_spinney", None):
        return
    time_was_here = "time" in modules
    from time import perf_counter as clock, time as now
    if not time_was_here:
        del modules["time"]
    ident, getpid, frame_of = threads.get_ident, posix.getpid, sys._getframe
    real, find_version = bootstrap._find_and_load, _versions(sys)
    escape = _escaper()
    stdlib = os.path.dirname(os.__file__) + "/"
    stacks, own_files, scanned, number = {}, {}, set(), [0]
    names_in = _names_asked(sys)

    def is_own(file):
        """Whether `file` is the user's code: neither the standard library nor an installed package."""
        own = own_files.get(file)
        if own is None:
            own = own_files[file] = not (
                file.startswith("<frozen") or file.startswith(stdlib)
                or "/site-packages/" in file or "/dist-packages/" in file)
        return own

    def note(name, total, own_time, order, frame, is_outermost):
        pid = getpid()
        while frame is not None and frame.f_code.co_filename.startswith(("<frozen importlib", importlib_file)):
            frame = frame.f_back
        asked, by = False, None
        if frame is not None:
            code = frame.f_code
            asked, by = is_own(code.co_filename), frame.f_globals.get("__name__")
            if asked and code not in scanned:
                if len(scanned) < 4096:
                    scanned.add(code)
                asks = names_in(code)
                if asks:
                    write(pid, '["asks",[%s]]\n' % ",".join([escape(ask) for ask in asks]), False)
        module = modules.get(name)
        if module is not None:
            values = object.__getattribute__(module, "__dict__")
            write(pid, (order, name, values.get("__spec__"), values, own_time, total, asked, by), asked or is_outermost)

    def line_of(entry):
        """The line of an entry; made when it is written."""
        if type(entry) is str:
            return entry
        order, name, spec, values, own_time, total, asked, by = entry
        path, flags = _place(spec, stdlib)
        version = None
        if "." not in name and "s" not in flags and "b" not in flags and "f" not in flags:
            version = find_version(name, path, flags, values)
        return '["i",%d,%s,%s,%s,%d,%d,"%s",%s]\n' % (
            order, escape(name), escape(path), escape(version), own_time * 1e6, total * 1e6,
            flags + "a" if asked else flags, escape(by) if type(by) is str else "null")

    def _find_and_load(name, import_):
        if name in modules:
            return real(name, import_)
        try:
            me = ident()
            stack = stacks.get(me)
            if stack is None:
                stack = stacks[me] = []
            number[0] = order = number[0] + 1
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
                own_time = total - stack.pop()
                if stack:
                    stack[-1] += total
                else:
                    stacks.pop(me, None)
                if done:
                    note(name, total, own_time, order, frame_of(1), not stack)
            except Exception:
                pass

    write = _writer(sys, posix, directory, escape, now, clock, line_of, threads.allocate_lock)
    importlib_file = os.path.join(os.path.dirname(os.__file__), "importlib", "__init__.py")
    # Frames of this file name are what Python leaves out of the tracebacks of failed imports.
    _find_and_load.__code__ = _find_and_load.__code__.replace(co_filename=real.__code__.co_filename)
    _find_and_load.__module__, _find_and_load.__qualname__ = real.__module__, real.__qualname__
    _find_and_load._spinney = True
    bootstrap._find_and_load = _find_and_load


def _place(spec, stdlib):
    """Where a module came from, and what kind it is."""
    origin = getattr(spec, "origin", None)
    places = getattr(spec, "submodule_search_locations", None)
    flags = "" if places is None else "p"
    if origin in ("built-in", "frozen"):
        return None, flags + ("b" if origin == "built-in" else "f")
    if origin is None or origin == "namespace":
        if places is None:
            return None, flags
        listed = places if type(places) is list else getattr(places, "_path", None)
        return (listed[0] if listed else None), flags + "n"
    if type(origin) is not str:
        return None, flags
    if origin.endswith((".so", ".pyd")):
        flags += "x"
    installed = "/site-packages/" in origin or "/dist-packages/" in origin
    if origin.startswith(stdlib) and not installed:
        flags += "s"
    return origin, flags


def _versions(sys):
    """Versions of packages, from the listings that Python's own finders hold: no question to storage."""
    known = {}

    def normal(name):
        return name.lower().replace("-", "_").replace(".", "_")

    def of_directory(directory):
        found = {}
        finder = sys.path_importer_cache.get(directory)
        for entry in getattr(finder, "_path_cache", None) or ():
            if entry.endswith((".dist-info", ".egg-info")):
                parts = entry[:-10].split("-")
                if len(parts) > 1:
                    found[normal(parts[0])] = parts[1]
        return found

    def find(name, path, flags, values):
        if path is not None:
            directory = path.rpartition("/")[0]
            if "p" in flags and "n" not in flags:
                directory = directory.rpartition("/")[0]
            if directory not in known:
                known[directory] = of_directory(directory)
            version = known[directory].get(normal(name))
            if version is not None:
                return version
        version = values.get("__version__")
        return version if type(version) is str else None

    return find


def _names_asked(sys):
    """What a piece of code imports by name, cached modules too: read from its instructions."""
    probe = compile("import a", "", "exec").co_code
    operation = probe[6 if sys.version_info >= (3, 11) else 4]
    # EXTENDED_ARG, which comes before the 257th name.
    extended_operation = {(3, 13): 71, (3, 14): 69}.get(sys.version_info[:2], 144)
    kind = type(_names_asked.__code__)

    def names_in(code):
        found, waiting = [], [code]
        while waiting and len(found) < 1000:
            code = waiting.pop()
            steps, names, extended = code.co_code, code.co_names, 0
            for place in range(0, len(steps), 2):
                if steps[place] == extended_operation:
                    extended = (extended | steps[place + 1]) << 8
                    continue
                if steps[place] == operation:
                    name = names[extended | steps[place + 1]]
                    if name and name not in found:
                        found.append(name)
                extended = 0
            waiting.extend(const for const in code.co_consts if type(const) is kind)
        return found

    return names_in


def _escaper():
    table = {n: "\\u%04x" % n for n in list(range(32)) + list(range(127, 160)) + list(range(0xD800, 0xE000))}
    table.update({34: '\\"', 92: "\\\\"})

    def escape(text):
        if text is None:
            return "null"
        if len(text) > 4096:
            text = text[:4096]
        if text.isprintable() and '"' not in text and "\\" not in text:
            return '"%s"' % text
        return '"%s"' % text.translate(table)

    return escape


def _writer(sys, posix, directory, escape, now, clock, line_of, allocate_lock):
    """Appends lines to this process's file, which is open only for the moment of a write."""
    flags = posix.O_WRONLY | posix.O_APPEND | posix.O_CREAT | posix.O_CLOEXEC | posix.O_NOFOLLOW
    state = {"pid": None, "file": None, "left": 8 << 20}
    waiting = []

    def header(pid):
        version = "%d.%d.%d" % sys.version_info[:3]
        values = (("python", version), ("implementation", sys.implementation.name),
                  ("executable", sys.executable or None), ("prefix", sys.prefix),
                  ("base_prefix", sys.base_prefix))
        return '["proc",{"pid":%d,"parent":%d,"started":%.6f,%s}]\n' % (
            pid, posix.getppid(), now(), ",".join(['"%s":%s' % (key, escape(value)) for key, value in values]))

    def text_of(entry):
        try:
            return line_of(entry)
        except Exception:
            return ""

    def flush():
        entries = waiting[:]
        del waiting[:len(entries)]
        data = "".join([text_of(entry) for entry in entries]).encode("utf-8", "replace")
        state["left"] -= len(data)
        if state["left"] < 0:
            return
        file = posix.open(state["file"], flags, 0o600)
        try:
            if posix.write(file, data) != len(data):
                state["left"] = 0
        finally:
            posix.close(file)

    def write(pid, entry, urgent):
        if state["pid"] != pid:
            waiting[:] = [header(pid)]
            # A lock of its own: another thread of the parent may have held the old one.
            state.update(pid=pid, left=8 << 20, file="%s/%d-%d.rec" % (directory, pid, int(clock() * 1e9)),
                         lock=allocate_lock())
        waiting.append(entry)
        if not urgent and len(waiting) < 32:
            return
        # Never waits. Whoever holds the lock looks again after it let go, so nothing stays.
        lock = state["lock"]
        while waiting and lock.acquire(False):
            try:
                flush()
            finally:
                lock.release()

    return write


try:
    _spinney_track()
except Exception:
    pass
