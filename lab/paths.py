"""Where the lab keeps things: the checkout, its home (data and logs) and the user's cache of programs."""

import os
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


def home() -> Path:
    """The folder of everything a run leaves behind: `LAB_HOME`, else `.lab` in the checkout."""
    return Path(os.environ.get("LAB_HOME") or CHECKOUT / ".lab").resolve()


def logs() -> Path:
    """The folder of the log files, one per part."""
    return home() / "logs"


def data() -> Path:
    """The folder of what outlives `lab down`: broker logs, SQLite files, samples."""
    return home() / "data"


def cache() -> Path:
    """The folder of installed programs, shared by every checkout of this user (XDG base directories)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "campus-food-lab"
