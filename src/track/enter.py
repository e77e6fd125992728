

def _spinney_enter():
    """Entered as `sitecustomize`: hides the way in, and makes way for the one that would have been imported."""
    import sys
    os = sys.modules["os"]
    directory = os.path.dirname(__file__)
    sys.path[:] = [place for place in sys.path if place != directory]
    sys.path_importer_cache.pop(directory, None)
    # Out of this process's sight, but not out of the environment that its children get.
    try:
        name = os.environ.encodekey("PYTHONPATH")
        value = os.environ._data[name]
        rest = [place for place in value.split(b":") if place != os.fsencode(directory)]
        if rest:
            os.environ._data[name] = b":".join(rest)
        else:
            del os.environ._data[name]
        # The way into R, beside it.
        profile, theirs = os.environ.encodekey("R_PROFILE"), os.environ.encodekey("SPINNEY_R_PROFILE")
        if os.environ._data.get(profile) == os.fsencode(directory + "/Rprofile"):
            del os.environ._data[profile]
            if theirs in os.environ._data:
                os.environ._data[profile] = os.environ._data.pop(theirs)
    except Exception:
        pass
    sys.modules.pop("sitecustomize", None)


_spinney_enter()
import sitecustomize  # noqa: F401 the one that Python would have found without ours, or none: it takes both
