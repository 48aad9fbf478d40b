"""Which signals ask a process to stop."""

import signal


def stopping() -> tuple[signal.Signals, ...]:
    """Return what ends a command that cleans up after itself.

    A terminal that is closed counts (SIGHUP), unless whoever started the process said that it is to
    outlive its terminal: nohup ignores the signal.
    """
    asked = (signal.SIGINT, signal.SIGTERM)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return asked
    return (*asked, signal.SIGHUP)
