"""Threads that all do the same."""

from __future__ import annotations

import threading


def in_threads(work, count):
    """Start `count` threads; what each returned or raised is in the list once they are joined."""
    outcomes = []

    def run():
        try:
            outcomes.append(work())
        except Exception as error:
            outcomes.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, outcomes
