"""A real REST catalog of Apache Iceberg on the loopback interface, and a door before it where answers get lost."""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from beamsplit.runners.java import QUICK, find_java, temporary_files
from beamsplit.runners.maven import maven_jars
from beamsplit.runners.process import Process, free_ports, listens

VERSION = "1.10.0"
JETTY = "11.0.26"
ARTIFACTS = (
    f"org.apache.iceberg:iceberg-core:{VERSION}",
    f"org.apache.iceberg:iceberg-core:{VERSION}:tests",
    f"org.eclipse.jetty:jetty-servlet:{JETTY}",
    f"org.eclipse.jetty:jetty-xml:{JETTY}",
    "org.xerial:sqlite-jdbc:3.50.3.0",
    "org.apache.hadoop:hadoop-client-runtime:3.4.2",
    "org.slf4j:slf4j-simple:2.0.17",
)
SERVER = """\
<?xml version="1.0"?>
<!DOCTYPE Configure PUBLIC "-//Jetty//Configure//EN" "https://www.eclipse.org/jetty/configure_10_0.dtd">
<Configure id="server" class="org.eclipse.jetty.server.Server">
  <Call name="addConnector"><Arg>
    <New class="org.eclipse.jetty.server.ServerConnector">
      <Arg><Ref refid="server"/></Arg><Set name="host">127.0.0.1</Set><Set name="port">{port}</Set>
    </New>
  </Arg></Call>
  <New id="settings" class="java.util.HashMap">
    <Call name="put"><Arg>catalog-impl</Arg><Arg>org.apache.iceberg.jdbc.JdbcCatalog</Arg></Call>
    <Call name="put"><Arg>uri</Arg><Arg>jdbc:sqlite:{folder}/catalog.db</Arg></Call>
    <Call name="put"><Arg>jdbc.schema-version</Arg><Arg>V1</Arg></Call>
    <Call name="put"><Arg>warehouse</Arg><Arg>file://{folder}/lake</Arg></Call>
  </New>
  <Call id="catalog" class="org.apache.iceberg.CatalogUtil" name="buildIcebergCatalog">
    <Arg>backend</Arg><Arg><Ref refid="settings"/></Arg><Arg><New class="org.apache.hadoop.conf.Configuration"/></Arg>
  </Call>
  <New id="adapter" class="org.apache.iceberg.rest.RESTCatalogAdapter"><Arg><Ref refid="catalog"/></Arg></New>
  <New id="servlet" class="org.apache.iceberg.rest.RESTCatalogServlet"><Arg><Ref refid="adapter"/></Arg></New>
  <Set name="handler">
    <New class="org.eclipse.jetty.servlet.ServletContextHandler">
      <Call name="addServlet">
        <Arg><New class="org.eclipse.jetty.servlet.ServletHolder"><Arg><Ref refid="servlet"/></Arg></New></Arg>
        <Arg>/*</Arg>
      </Call>
    </New>
  </Set>
</Configure>
"""


@contextmanager
def rest_server(folder: Path) -> Iterator[int]:
    """Start one whose tables lie in `folder`/lake, and end it; gives its port."""
    (port,) = free_ports(1)
    jars = maven_jars(*ARTIFACTS)
    (folder / "server.xml").write_text(SERVER.format(port=port, folder=folder))
    options = ["-Xmx256m", *QUICK, temporary_files(folder), "-cp", f"{jars}/*"]
    command = [find_java(11), *options, "org.eclipse.jetty.xml.XmlConfiguration", str(folder / "server.xml")]
    process = Process("catalog", folder, command)
    process.start()

    def answers() -> bool:
        if not listens(port):
            return False
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/config", timeout=10) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    try:
        process.wait_until(answers, 180)
        yield port
    finally:
        process.kill()


class Door(ThreadingHTTPServer):
    """What stands before a catalog: TLS, a token that must be right, and answers that get lost.

    Args:
        port: of the catalog.
        certificate: of this server, with its key, as PEM; None speaks plain HTTP.
    """

    daemon_threads = True

    def __init__(self, port: int, certificate: Path | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind, self.token = port, ""
        self.commits = 0
        """Commits that came."""
        self.of_commit: Callable[[int], str] = lambda number: ""
        """Number of a commit, from 1 -> "lost" (made, and the connection is cut), "500" (made, and told as unknown),
        "unmade" (told as unknown, and not made), or nothing."""
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self._thread = Thread(target=self.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self.shutdown()
        self.server_close()
        self._thread.join()

    def handle_error(self, *_: object) -> None:
        """A client that goes away is no fault of ours."""


class _Handler(BaseHTTPRequestHandler):
    server: Door
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        door, what = self.server, ""
        if door.token and self.headers.get("Authorization") != f"Bearer {door.token}":
            told = f"not authorized: {self.headers.get('Authorization')}"
            self._answer(401, f'{{"error": {{"message": "{told}", "type": "NotAuthorized", "code": 401}}}}'.encode())
            return
        if self.command == "POST" and "/tables/" in self.path and "/metrics" not in self.path:
            door.commits += 1
            what = door.of_commit(door.commits)
        if what == "unmade":
            self._answer(500, b"")
            return
        asked = http.client.HTTPConnection("127.0.0.1", door.behind, timeout=120)
        headers = {
            name: value for name, value in self.headers.items() if name.lower() not in ("host", "accept-encoding")
        }
        asked.request(self.command, self.path, body, headers)
        got = asked.getresponse()
        answer = got.read()
        asked.close()
        if what == "lost":
            self.close_connection = True
            return
        self._answer(500, b"") if what == "500" else self._answer(got.status, answer)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_POST = do_HEAD = do_DELETE = _pass_on
