"""The jars that Python packages do not bring: the Kafka broker, and Spark's connectors to Kafka, MSK, Delta and S3.

``jars.lock.json`` names each with size and SHA-256. They come once into the user's cache, through the Ivy that ships
with PySpark and its built-in default repository; afterwards nothing here touches the network.

``python -m retail_platform.embedded.jars fetch`` brings what is missing; ``… lock`` writes the lock again.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import time
import urllib.parse
import urllib.request
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal
from xml.sax.saxutils import quoteattr

from rich.console import Console
from rich.markup import escape

from retail_platform.embedded.java import find_java, is_bundled
from retail_platform.errors import RetailError
from retail_platform.settings import Settings, user_cache_dir

Group = Literal["kafka", "spark", "local", "s3", "msk"]
Progress = Callable[[int, int], None]
"""Called with the bytes that have arrived and the bytes that are to arrive, a few times a second."""

LOCK_FILE = Path(__file__).with_name("jars.lock.json")

# Versions are pinned on purpose, not by "latest": 4.4.0 of Kafka lacks modules, Spark 4.2 wants Delta's jars at 4.4.0.
_ROOTS: dict[Group, tuple[str, ...]] = {
    "kafka": ("org.apache.kafka:kafka_2.13:4.3.1", "org.apache.logging.log4j:log4j-slf4j-impl:2.25.5"),
    "spark": ("io.delta:delta-spark_4.2_2.13:4.4.0", "org.apache.spark:spark-sql-kafka-0-10_2.13:4.2.0"),
    # Hadoop's own local file system forks a process for each file that it makes, to set its permissions.
    "local": ("com.globalmentor:hadoop-bare-naked-local-fs:0.1.0",),
    # Hadoop's own choice is the whole SDK in one jar of 686 MB. These parts of it are what S3A calls, and take 14 MB.
    "s3": (
        "org.apache.hadoop:hadoop-aws:3.5.0",
        *(
            f"software.amazon.awssdk:{part}:2.35.4"
            for part in ("s3", "s3-transfer-manager", "sts", "apache-client", "netty-nio-client")
        ),
    ),
    # Its jar with all it needs has another SDK within, under the SDK's own names. It uses S3A's, above, and so is of a version
    # that was made for one not newer.
    "msk": ("software.amazon.msk:aws-msk-iam-auth:2.3.4",),
}
# Delta's and Spark's POMs drag in what PySpark ships, often older.
_EXCLUDED: dict[Group, tuple[str, ...]] = {
    "kafka": (),
    "spark": (
        "com.fasterxml.jackson.core:*",
        "com.fasterxml.jackson.datatype:*",
        "com.fasterxml.jackson.module:*",
        "io.unitycatalog:*",
        "org.apache.hadoop:*",
        "org.apache.parquet:*",
        "org.lz4:*",
        "org.roaringbitmap:*",
        "org.scala-lang:*",
        "org.slf4j:*",
        "org.xerial.snappy:*",
    ),
    "local": (),
    "s3": ("org.slf4j:*", "software.amazon.awssdk:bundle"),
    "msk": ("com.fasterxml.jackson.core:*", "org.slf4j:*", "software.amazon.awssdk:*"),
}
_PARALLEL = 4
_POLL_SECONDS = 0.2
_TRUSTSTORE_PASSWORD = "changeit"  # noqa: S105  Java's customary one: the store holds public certificates only


@dataclass(frozen=True, slots=True)
class Jar:
    """One locked jar: Maven coordinate ``organisation:module:version``, file name, size in bytes, SHA-256 in hex."""

    coordinate: str
    file: str
    size: int
    sha256: str

    @property
    def path(self) -> Path:
        """Where it is in the user's cache; it may not be there yet."""
        return jars_dir() / self.file

    @property
    def present(self) -> bool:
        """Whether the cache has it; what is put there was verified by its checksum."""
        try:
            return self.path.stat().st_size == self.size
        except OSError:
            return False


def jars_dir() -> Path:
    """The folder of the user's cache that holds the jars."""
    return user_cache_dir() / "jars"


@lru_cache(maxsize=1)
def locked() -> dict[str, tuple[Jar, ...]]:
    """The jars of each group, as the lock names them."""
    groups = json.loads(LOCK_FILE.read_text(encoding="utf-8"))
    return {group: tuple(Jar(**entry) for entry in entries) for group, entries in groups.items()}


def group_jars(group: Group) -> list[Path]:
    """The paths of a group's jars.

    Raises:
        RetailError: one of them is not in the cache.
    """
    jars = locked()[group]
    absent = [jar.file for jar in jars if not jar.present]
    if absent:
        raise RetailError(
            f"{len(absent)} of the {group} jars are missing from {jars_dir()} ({absent[0]}); run `make setup`"
        )
    return [jar.path for jar in jars]


def class_path(group: Group) -> str:
    """A group's jars as Java's ``-cp`` wants them.

    Raises:
        RetailError: one of them is not in the cache.
    """
    return os.pathsep.join(str(path) for path in group_jars(group))


def spark_jars(settings: Settings) -> list[Path]:
    """Spark's connectors to Kafka and Delta, to S3 when the lake is there, and to MSK by IAM, for ``spark.jars``.

    Raises:
        RetailError: one of them is not in the cache.
    """
    # MSK's jar uses the AWS SDK that comes with S3's.
    by_iam = settings.kafka_by_iam
    return [
        *group_jars("spark"),
        *(group_jars("s3") if settings.s3_bucket or by_iam else ()),
        *(group_jars("msk") if by_iam else ()),
    ]


def spark_version() -> str:
    """The Spark that the locked connectors are made for."""
    kafka = next(jar for jar in locked()["spark"] if ":spark-sql-kafka-0-10_" in jar.coordinate)
    return kafka.coordinate.rpartition(":")[2]


def fetch(on_progress: Progress | None = None) -> list[Jar]:
    """Bring every locked jar that is missing into the cache and return which came; for none, no network is touched.

    Safe to call from several processes at once, and to kill: what has arrived whole is kept and used the next time.

    Raises:
        RetailError: no network, no space, no Java, or a file that is not what the lock says.
    """
    jars = list({jar.file: jar for jars in locked().values() for jar in jars}.values())
    if all(jar.present for jar in jars):
        return []
    try:
        with _alone():
            return _fetch([jar for jar in jars if not jar.present], on_progress or (lambda _done, _total: None))
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise _disk_full() from error
        raise RetailError(
            f"cannot write the jars to {jars_dir()} ({error.strerror}); mend that, or set XDG_CACHE_HOME"
        ) from error


@contextmanager
def _alone() -> Iterator[None]:
    """One fetch at a time on this cache, across processes."""
    jars_dir().mkdir(parents=True, exist_ok=True)
    with (jars_dir() / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(missing: Sequence[Jar], on_progress: Progress) -> list[Jar]:
    work = jars_dir() / ".partial"
    _adopt(missing, work)  # what an interrupted fetch had already brought
    wanted = [jar for jar in missing if not jar.present]
    shutil.rmtree(work, ignore_errors=True)
    by_size = sorted(wanted, key=lambda jar: jar.size, reverse=True)
    shares = [by_size[number::_PARALLEL] for number in range(min(_PARALLEL, len(by_size)))]
    running = [
        _start_ivy(work / str(number), [jar.coordinate for jar in share], exclude=(), transitive=False)
        for number, share in enumerate(shares)
    ]
    try:
        total = sum(jar.size for jar in wanted)
        while any(process.poll() is None for process in running):
            time.sleep(_POLL_SECONDS)
            on_progress(min(_arrived(work), total), total)
    finally:
        for process in running:
            process.terminate()
            process.wait()
        _adopt(wanted, work)
    failed = [jar for jar in wanted if not jar.present]
    if failed:
        raise _explain(failed, work)
    shutil.rmtree(work, ignore_errors=True)
    return wanted


def _arrived(work: Path) -> int:
    """Bytes that Ivy has downloaded so far, finished or not."""
    total = 0
    for cache in work.glob("*/cache"):
        for folder, _, files in os.walk(cache):
            for name in files:
                if name.endswith((".jar", ".part")):
                    with contextlib.suppress(FileNotFoundError):  # renamed between the listing and the look
                        total += (Path(folder) / name).stat().st_size
    return total


def _adopt(jars: Iterable[Jar], work: Path) -> None:
    """Move what arrived whole from ``work`` into the cache.

    Raises:
        RetailError: a file has the right name and size but is not what the lock says.
    """
    arrived = {path.name: path for path in work.rglob("*.jar")}
    for jar in jars:
        path = arrived.get(jar.file)
        if path is None or path.stat().st_size != jar.size:
            continue
        found = _sha256(path)
        if found != jar.sha256:
            path.unlink()
            raise RetailError(
                f"{jar.coordinate} is not the file that the lock names (SHA-256 {found}, wanted {jar.sha256}); "
                "something between here and the registry changes downloads: nothing was installed"
            )
        path.replace(jar.path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _disk_full() -> RetailError:
    return RetailError(
        f"the disk is full; free 300 MB where {jars_dir()} is (or set XDG_CACHE_HOME), then run `make setup`"
    )


def _explain(failed: Sequence[Jar], work: Path) -> RetailError:
    said = "\n".join(log.read_text(encoding="utf-8", errors="replace") for log in sorted(work.glob("*/ivy.log")))
    if "No space left" in said:
        return _disk_full()
    if "PKIX" in said or "SSLHandshake" in said:
        cause = "Java does not trust the certificate it was shown; name your company's authorities in SSL_CERT_FILE"
    else:
        cause = "check the network and the proxy (HTTPS_PROXY)"
    return RetailError(
        f"{len(failed)} of the jars could not be downloaded ({failed[0].coordinate}); {cause}, then run `make setup` "
        f"again: what has arrived is kept (log: {work}/*/ivy.log)"
    )


# --- Ivy ------------------------------------------------------------------------------------------------------------


def package_dir(name: str) -> Path:
    """Where a Python package is installed, found without importing it.

    Raises:
        RetailError: it is not.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise RetailError(f"the Python package {name} is missing; run `make setup`")
    return Path(spec.submodule_search_locations[0])


def _start_ivy(
    work: Path, coordinates: Sequence[str], *, exclude: Sequence[str], transitive: bool
) -> subprocess.Popen[bytes]:
    """Start Ivy on its own cache below ``work``; jars end up in ``work/out/organisation/module/version/``."""
    work.mkdir(parents=True)
    settings, module = work / "settings.xml", work / "ivy.xml"
    # A lock may name two versions of one module: the usual conflict manager would silently drop one.
    conflicts = "latest-revision" if transitive else "all"
    settings.write_text(
        f'<ivysettings><settings defaultResolver="default" defaultConflictManager="{conflicts}"/>'
        f'<caches defaultCacheDir={quoteattr(str(work / "cache"))} lockStrategy="no-lock"/>'
        f'<resolvers><ibiblio name="default" m2compatible="true" usepoms="{str(transitive).lower()}"'
        ' useMavenMetadata="false"/></resolvers></ivysettings>',
        encoding="utf-8",
    )
    dependencies = "".join(_ivy_dependency(coordinate, transitive=transitive) for coordinate in coordinates)
    exclusions = "".join(
        f'<exclude org="{organisation}" module="{name}"/>'
        for organisation, name in (entry.split(":") for entry in exclude)
    )
    module.write_text(
        '<ivy-module version="2.0"><info organisation="retail-platform" module="jars"/>'
        '<configurations><conf name="default"/></configurations><publications/>'
        f"<dependencies>{dependencies}{exclusions}</dependencies></ivy-module>",
        encoding="utf-8",
    )
    ivy = next(package_dir("pyspark").glob("jars/ivy-*.jar"))
    java = find_java()
    command: list[str | Path] = [java, "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    command += [*_trust_options(java, work), *_proxy_options(), "-cp", ivy, "org.apache.ivy.Main"]
    command += ["-settings", settings, "-ivy", module, "-confs", "default", "-types", "jar", "bundle"]
    command += [
        "-retrieve",
        f"{work}/out/[organisation]/[module]/[revision]/[artifact]-[revision](-[classifier]).[ext]",
    ]
    with (work / "ivy.log").open("wb") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def _ivy_dependency(coordinate: str, *, transitive: bool) -> str:
    organisation, name, version = coordinate.split(":")
    attributes = f'org="{organisation}" name="{name}" rev="{version}"'
    if transitive:
        return f'<dependency {attributes} conf="default->default"/>'
    artifact = f'<artifact name="{name}" type="jar" ext="jar"/>'
    return f'<dependency {attributes} conf="default->*" transitive="false" force="true">{artifact}</dependency>'


def _trust_options(java: Path, work: Path) -> list[str]:
    """Hand the bundled runtime the authorities that Python trusts: those of a company's proxy are among them."""
    authorities = ssl.create_default_context().get_ca_certs(binary_form=True)
    if not is_bundled(java) or not authorities:
        return []
    from cryptography import x509  # noqa: PLC0415  only a machine without Java needs it
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12  # noqa: PLC0415

    entries = []
    with warnings.catch_warnings(action="ignore"):
        for number, authority in enumerate(authorities):
            with contextlib.suppress(
                ValueError
            ):  # old authorities are not always well-formed; Java knows the good ones
                certificate = x509.load_der_x509_certificate(authority)
                entries.append(pkcs12.PKCS12Certificate(certificate, f"ca{number}".encode()))
    store = work / "truststore.p12"
    password = _TRUSTSTORE_PASSWORD.encode()
    store.write_bytes(pkcs12.serialize_java_truststore(entries, BestAvailableEncryption(password)))
    return [
        f"-Djavax.net.ssl.trustStore={store}",
        f"-Djavax.net.ssl.trustStorePassword={_TRUSTSTORE_PASSWORD}",
        "-Djavax.net.ssl.trustStoreType=PKCS12",
    ]


def _proxy_options() -> list[str]:
    """Java does not read ``HTTPS_PROXY`` by itself."""
    proxy = urllib.parse.urlsplit(urllib.request.getproxies().get("https", ""))
    if proxy.hostname is None:
        return []
    return [f"-Dhttps.proxyHost={proxy.hostname}", f"-Dhttps.proxyPort={proxy.port or 8080}"]


# --- The lock -------------------------------------------------------------------------------------------------------


def lock() -> dict[str, list[Jar]]:
    """Resolve each group's roots with all they need and write ``jars.lock.json``; a developer's command.

    Raises:
        RetailError: the registry cannot be reached or lacks something.
    """
    shipped = {_module_name(path) for path in package_dir("pyspark").glob("jars/*.jar")}
    work = jars_dir() / f".lock-{os.getpid()}"
    groups: dict[str, list[Jar]] = {}
    try:
        for group, roots in _ROOTS.items():
            folder = work / group
            if _start_ivy(folder, roots, exclude=_EXCLUDED[group], transitive=True).wait() != 0:
                raise RetailError(
                    f"Ivy could not resolve {', '.join(roots)}: {(folder / 'ivy.log').read_text()[-600:]}"
                )
            found = sorted(_jar(path, folder / "out") for path in (folder / "out").rglob("*.jar"))
            groups[group] = [jar for _, jar in found if group == "kafka" or jar.coordinate.split(":")[1] not in shipped]
    finally:
        shutil.rmtree(work, ignore_errors=True)
    document = {group: [asdict(jar) for jar in jars] for group, jars in groups.items()}
    LOCK_FILE.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    locked.cache_clear()
    return groups


def _jar(path: Path, root: Path) -> tuple[str, Jar]:
    organisation, module, version, name = path.relative_to(root).parts
    coordinate = f"{organisation}:{module}:{version}"
    return coordinate, Jar(coordinate, name, path.stat().st_size, _sha256(path))


def _module_name(path: Path) -> str:
    """The module of a jar named ``module-1.2.3.jar``."""
    return re.split(r"-\d", path.name, maxsplit=1)[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """``fetch`` or ``lock``, with progress on standard error; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m retail_platform.embedded.jars", description=__doc__)
    parser.add_argument("command", choices=("fetch", "lock"))
    chosen = parser.parse_args(arguments)
    console = Console(stderr=True, highlight=False)
    try:
        if chosen.command == "lock":
            for group, jars in lock().items():
                console.print(f"{group}: {len(jars)} jars, {_megabytes(jars):.1f} MB")
        else:
            _fetch_visibly(console)
    except RetailError as error:
        console.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        return error.exit_code
    return 0


def _fetch_visibly(console: Console) -> None:
    from rich import progress  # noqa: PLC0415

    columns = (progress.TextColumn("jars"), progress.BarColumn(), progress.DownloadColumn())
    speed = progress.TransferSpeedColumn()
    started = time.monotonic()
    with progress.Progress(*columns, speed, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("jars", total=None)
        fetched = fetch(lambda done, total: bar.update(task, completed=done, total=total))
    if not fetched:
        console.print(f"jars: all there, in {jars_dir()}")
        return
    seconds, megabytes = time.monotonic() - started, _megabytes(fetched)
    console.print(f"jars: {len(fetched)}, {megabytes:.1f} MB in {seconds:.1f} s, {megabytes / seconds:.1f} MB/s")


def _megabytes(jars: Iterable[Jar]) -> float:
    return sum(jar.size for jar in jars) / 1e6


if __name__ == "__main__":
    sys.exit(main())
