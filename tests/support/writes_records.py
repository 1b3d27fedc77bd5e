"""Write records to a log: `python -m tests.support.writes_records FOLDER NAME`."""

import sys
from pathlib import Path

from valstab.protocol.store import RecordLog

if __name__ == "__main__":
    folder, name = sys.argv[1:]
    log = RecordLog(Path(folder))
    for number in range(50):
        log.put({f"{name}-{number}": "x" * 5000})
