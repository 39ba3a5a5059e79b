"""Runs a command and tells the most anonymous memory that it had: mapped files, which the system may take back, do not count.

    python peak.py FILE COMMAND..  ->  the peak in MiB in FILE
"""

import re
import subprocess
import sys
import time
from pathlib import Path

out, command = Path(sys.argv[1]), sys.argv[2:]
child = subprocess.Popen(command)
status, peak = Path(f"/proc/{child.pid}/status"), 0
while child.poll() is None:
    found = re.search(r"RssAnon:\s+(\d+)", status.read_text())
    peak = max(peak, int(found[1]) if found else 0)
    time.sleep(0.02)
out.write_text(str(peak / 1024))
sys.exit(child.returncode)
