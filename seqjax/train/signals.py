"""Signals that ask a process to stop."""

import signal
import threading

# Ctrl-C, a lost terminal, kill; and the signals by which batch systems announce that time is nearly over.
NAMES = ("SIGINT", "SIGHUP", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGXCPU")


class Signals:
    """A context that notes the first request to stop, and then restores the previous handlers, so that a second one kills.

    A signal that is ignored when the context begins, such as SIGHUP under nohup, stays ignored.

    Example:
        >>> with Signals() as signals:
        ...     signal.raise_signal(signal.SIGTERM)
        ...     signals.received.name
        'SIGTERM'
    """

    received: signal.Signals | None = None

    def __enter__(self):
        self._before = {}
        if threading.current_thread() is threading.main_thread():
            numbers = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
            heard = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._note) for number in heard}
        return self

    def _note(self, number, frame):
        self.received = signal.Signals(number)
        self._restore()

    def _restore(self):
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def __exit__(self, *error):
        self._restore()
