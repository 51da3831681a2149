"""Real servers of the tests' own, which can be stopped and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

PASSWORD = "p@ss/w:rd"


@dataclass
class PostgresServer:
    """A PostgreSQL over a folder of its own; `user`: whom it runs as, for it refuses to run as root."""

    binaries: Path
    folder: Path
    port: int
    user: str | None = None
    group: int | None = None
    password: str = PASSWORD
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def url(self, database: str, password: str = PASSWORD) -> str:
        escaped = password.replace("@", "%40").replace("/", "%2F").replace(":", "%3A")
        return f"postgresql://seqsweep:{escaped}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str, database: str = "postgres") -> None:
        import psycopg

        with psycopg.connect(host="127.0.0.1", port=self.port, user="seqsweep", password=PASSWORD, dbname=database,
                             autocommit=True) as connection:
            connection.execute(statement.encode())

    def create(self) -> None:
        """Make its data folder."""
        password = self.folder / "password"
        password.write_text(PASSWORD)
        if self.user is not None:
            for path in (self.folder, password):
                os.chown(path, *self._owner())
        subprocess.run([self.binaries / "initdb", "-D", self.folder / "data", "-U", "seqsweep", "--auth=scram-sha-256",
                        f"--pwfile={password}", "--encoding=UTF8", "--locale=C", "--no-sync"],
                       user=self.user, group=self.group, cwd=self.folder, check=True, capture_output=True)

    def start(self) -> None:
        """Begin to serve."""
        self.process = subprocess.Popen(
            [self.binaries / "postgres", "-D", self.folder / "data", "-p", str(self.port), "-k", self.folder,
             "-h", "127.0.0.1", "-F"],
            user=self.user, group=self.group, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._wait()

    def stop(self) -> None:
        """As `pg_ctl stop -m immediate`: every connection breaks, nothing is tidied up."""
        assert self.process is not None
        self.process.send_signal(signal.SIGQUIT)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _owner(self) -> tuple[int, int]:
        import pwd

        entry = pwd.getpwnam(self.user or "")
        return entry.pw_uid, entry.pw_gid

    def _wait(self) -> None:
        import psycopg

        deadline = time.monotonic() + 60
        while True:
            try:
                self.execute("SELECT 1")
                return
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)


@contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """One real server with one worker; killed with its children."""
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port),
               "--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", f"{folder}/artifacts"]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
