"""The one error that the command line shows to a person."""


class LabError(Exception):
    """Something the user can mend; the message is one sentence: what happened and what to do next."""
