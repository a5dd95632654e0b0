"""The one error that is the user's to mend, not the library's."""


class UsageError(ValueError):
    """Bad input: its message names the thing and the remedy in one sentence.

    The command line prints the message without a traceback.
    """
