"""Ctrl-C, held back while something is done that must not be left halfway.

What is here: that. What is not: what must not be left halfway (`worker_pool.py`).
"""

import _signal  # type: ignore[import-not-found] # as `signal`, but in a tenth of the time: it makes no enumerations
import signal
import threading


class CtrlCHeld:
    """Raises the `KeyboardInterrupt` of a Ctrl-C at the end of a block instead of anywhere in it.

    Changes nothing in threads other than the main one, which Ctrl-C does not reach, and in programs that have a handler
    of their own for it.

    Example:
        >>> done = []
        >>> try:
        ...     with CtrlCHeld():
        ...         signal.raise_signal(signal.SIGINT)
        ...         done.append("all of the block")
        ... except KeyboardInterrupt:
        ...     done.append("interrupted")
        >>> done
        ['all of the block', 'interrupted']
    """

    def __enter__(self) -> None:
        """Begin to hold it back."""
        self._has_come = False
        self._holds = (
            threading.current_thread() is threading.main_thread()
            and _signal.getsignal(signal.SIGINT) is signal.default_int_handler
        )
        if self._holds:
            _signal.signal(signal.SIGINT, self._note)

    def __exit__(self, *_: object) -> None:
        """Let it through again.

        Raises:
            KeyboardInterrupt: If it has come meanwhile.
        """
        if self._holds:
            _signal.signal(signal.SIGINT, signal.default_int_handler)
            if self._has_come:
                raise KeyboardInterrupt

    def _note(self, *_: object) -> None:
        self._has_come = True
