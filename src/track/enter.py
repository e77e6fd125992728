

def _spinney_enter():
    """Entered as `sitecustomize`: hides the way in, and makes way for the one that would have been imported.

    The environment stays as it is: many programs give their children a copy of `os.environ`.
    """
    import sys
    os = sys.modules["os"]
    directory = os.path.dirname(__file__)
    sys.path[:] = [place for place in sys.path if place != directory]
    sys.path_importer_cache.pop(directory, None)
    sys.modules.pop("sitecustomize", None)
    try:
        _spinney_keep(sys, os, directory + "/", sys._getframe(1).f_code)
    except Exception:
        pass


def _spinney_noting(*given):
    """Of an interpreter that imports something: the real one, from beside this file, where its bytecode is kept too."""
    from sys import modules
    external, directory = modules["_frozen_importlib_external"], __file__.rpartition("/")[0]
    kept = "%s/noting-%s" % (directory, external.MAGIC_NUMBER.hex())
    try:
        code = modules["marshal"].loads(__loader__.get_data(kept))
    except Exception:
        # Named as this file: what is imported from it is nobody's wish.
        code = compile(__loader__.get_data(directory + "/noting.py"), __file__, "exec", dont_inherit=True)
        __loader__.set_data(kept, modules["marshal"].dumps(code), _mode=0o600)
    # Which defines it anew.
    exec(code, globals())
    return _spinney_noting(*given)


def _spinney_keep(sys, os, directory, code):
    """Leaves the bytecode of this file beside it, where it ends with the run, and nowhere else."""
    cached = __spec__.cached
    if not cached.startswith(directory):
        # PYTHONPYCACHEPREFIX: one for each run would stay there.
        while len(cached) > len(sys.pycache_prefix):
            os.unlink(cached) if cached.endswith(".pyc") else os.rmdir(cached)
            cached = os.path.dirname(cached)
    elif sys.dont_write_bytecode and not os.path.exists(cached):
        # That is meant for the user's own directories; compiling takes longer than all else that is done here.
        external, about = sys.modules["_frozen_importlib_external"], os.stat(__file__)
        data = external._code_to_timestamp_pyc(code, int(about.st_mtime), about.st_size)
        __loader__.set_data(cached, data, _mode=0o600)


_spinney_enter()
import sitecustomize  # noqa: F401 the one that Python would have found without ours, or none: it takes both
