"""The one error a user's mistake becomes: a clear line that names the cause and the mend, never a traceback."""


class RetailError(Exception):
    """Something the user can mend. The message names the setting, file or server at fault, and what to do.

    The command line prints it as one line and exits with ``exit_code``; a Dagster step turns it into a ``Failure``.
    """

    exit_code = 1


class SettingsError(RetailError):
    """A setting is wrong or missing. Exit code 2, as for any wrong usage."""

    exit_code = 2
