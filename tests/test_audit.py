"""What CI says of known vulnerabilities, with a database of one that stands in for OSV's."""

import json
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / ".ci" / "audit"
KNOWN = {
    "id": "PYSEC-2026-1",
    "modified": "2026-01-01T00:00:00Z",
    "summary": "Pages may run what they should not.",
    "affected": [{"package": {"name": "jinja2", "ecosystem": "PyPI"}}],
}


class Database(BaseHTTPRequestHandler):
    """Knows one vulnerability, of Jinja."""

    def do_POST(self):
        queries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
        found = {"vulns": [{"id": KNOWN["id"], "modified": KNOWN["modified"]}]}
        self._answer({"results": [found if each["package"]["name"] == "jinja2" else {} for each in queries]})

    def do_GET(self):
        self._answer(KNOWN)

    def log_message(self, *arguments):
        pass

    def _answer(self, document):
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def database():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Database)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def audit(url, *arguments):
    command = [SCRIPT, "--frozen", "--service-url", url, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_known_vulnerability_is_an_error_unless_it_is_ignored(database):
    found = audit(database)
    assert found.returncode == 1
    assert KNOWN["summary"] in found.stdout
    ignored = audit(database, "--ignore", KNOWN["id"])
    assert ignored.returncode == 0
    assert KNOWN["summary"] not in ignored.stdout
    assert ignored.stderr == ""


def test_a_database_out_of_reach_is_said_and_no_error():
    result = audit("http://127.0.0.1:1/")
    assert result.returncode == 0
    assert result.stderr.startswith("NOT AUDITED")


def test_another_mistake_is_an_error():
    assert audit("http://127.0.0.1:1/", "--unknown").returncode == 2
