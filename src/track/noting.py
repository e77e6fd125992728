"""What is noted of each import; the beginning, and what the lines say, is in `hook.py`."""


def _spinney_noting(begin, append, process, library):
    """What notes an import. `process` has begun, and its first line is written."""
    import sys
    modules = sys.modules
    getpid, allocate_lock = modules["posix"].getpid, modules["_thread"].allocate_lock
    values_of, path_importers = object.__getattribute__, sys.path_importer_cache
    line, text_of, escape = _line, _text_of, _escape
    importlib_files = "<frozen importlib", library + "importlib/__init__.py"
    # What is imported on the way in is nobody's wish.
    kinds = {sys._getframe().f_code.co_filename: 0}
    scanned, listed, waiting = set(), set(), []
    # Of this process: its file, how many bytes that may still take, who writes.
    (pid, record, _), left, lock = process, 8 << 20, allocate_lock()

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
        # Where no Python code asks, the program around it does.
        asked, by = 1, None
        while frame is not None:
            code = frame.f_code
            file = code.co_filename
            kind = kinds[file] if file in kinds else kind_of(file)
            if kind < 2:
                asked, by = kind, frame.f_globals.get("__name__")
                break
            frame = frame.f_back
        if getpid() != pid:
            renew()
        if asked:
            urgent = True
            if frame is not None and code not in scanned:
                if len(scanned) < 4096:
                    scanned.add(code)
                asks = _names_asked(code)
                if asks:
                    waiting.append(line("asks", *asks))
        if name in modules:
            waiting.append((order, name, values_of(modules[name], "__dict__"), own, total, asked, by))
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

    def renew():
        """A process that was forked: what its parent has not yet written is the parent's."""
        nonlocal pid, record, left, lock
        # A lock of its own: another thread of the parent may have held the old one.
        left, lock = 8 << 20, allocate_lock()
        listed.clear()
        pid, record, first = begin()
        waiting[:] = [first]

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
        if left >= 0 and not append(record, data):
            left = 0

    def write():
        # Never waits. Whoever holds the lock looks again after it let go, so nothing stays.
        while waiting and lock.acquire(False):
            try:
                flush()
            finally:
                lock.release()

    return note


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
