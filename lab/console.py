"""Where the command line writes: results on standard output, progress on standard error."""

from rich.console import Console

out = Console(highlight=False)
progress = Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """Tell the user what is being done, in one line of progress."""
    progress.print(text, markup=False, soft_wrap=True)
