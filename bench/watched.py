"""Runs a command and tells what it took: seconds, CPU seconds, and the most anonymous memory that it had, in MiB.
Mapped files, which the system may take back, do not count.

    python watched.py FILE COMMAND..  ->  the three in FILE
"""

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path


class Peak:
    """The most anonymous memory of a process, in MiB, from when it is entered until it is left."""

    def __init__(self, process):
        self.status, self.mib = Path(f"/proc/{process}/status"), 0.0
        self.left = threading.Event()
        self.watcher = threading.Thread(target=self.watch)

    def watch(self):
        while True:
            try:
                found = re.search(r"RssAnon:\s+(\d+)", self.status.read_text())
            except OSError:
                return  # the process has ended
            self.mib = max(self.mib, int(found[1]) / 1024 if found else 0)
            if self.left.wait(0.01):
                return

    def __enter__(self):
        self.watcher.start()
        return self

    def __exit__(self, *_):
        self.left.set()
        self.watcher.join()


def main(out, *command):
    begun = time.perf_counter()
    child = subprocess.Popen(command)
    with Peak(child.pid) as peak:
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - begun
    Path(out).write_text(f"{seconds} {usage.ru_utime + usage.ru_stime} {peak.mib:.0f}\n")
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(*sys.argv[1:])
