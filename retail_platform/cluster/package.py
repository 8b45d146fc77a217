"""What a job run on EMR Serverless needs from us, built here and brought into the lake's bucket once.

Four parts, each named by its contents: an archive with a Python and the packages that the driver imports, locked as here;
an archive of this package; the connectors' jars; the script that Spark starts. A *release* names the four that go with this
version of the code: the code server launches that one, and none that is older or newer than itself.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from retail_platform.cluster.archive import digest, files_of, pack
from retail_platform.embedded.jars import Group, group_jars, locked
from retail_platform.errors import RetailError
from retail_platform.lakehouse.location import asking_bucket, aws_client, bucket_key
from retail_platform.settings import PROJECT_ROOT, Settings

if TYPE_CHECKING:
    from packaging.requirements import Requirement

Architecture = Literal["arm64", "x86_64"]
Report = Callable[[str], None]

#: What the job imports; the lock says which versions, and what they need in their turn.
ROOTS = (
    "aiokafka[lz4]",
    "aws-msk-iam-sasl-signer-python",
    "boto3",
    "dagster-pipes",
    "delta-spark",
    "deltalake",
    "duckdb",
    "fsspec",
    "numpy",
    "pandas",
    "pyarrow",
    "pydantic",
    "pydantic-settings",
    "rich",
    "tzdata",
)
#: What EMR's own Spark has, in its own version.
_SPARKS_OWN = frozenset({"pyspark", "py4j"})

_MACHINES: dict[Architecture, str] = {"arm64": "aarch64", "x86_64": "x86_64"}
_PACKAGE = Path(__file__).resolve().parents[1]
_ENTRY = Path(__file__).with_name("entry.py")
# Of a Python's folder: neither headers, nor what others have installed in it, nor libraries to link with.
_INTERPRETER = re.compile(r"bin/python3[.0-9]*$|lib/(python3[.0-9]*/|libpython)(?!.*\.a$)")
_LOCK = PROJECT_ROOT / "requirements.lock"
_PACKAGES = "packages"


@dataclass(frozen=True, slots=True)
class Release:
    """The parts of a release, by their addresses in the bucket (``s3://…``)."""

    environment: str
    platform: str
    entry: str
    jars: tuple[str, ...]


def release_id() -> str:
    """What tells this version of the code from others: a digest of the package's files and of the lock.

    Raises:
        RetailError: the lock is not there.
    """
    found = hashlib.sha256()
    for path, name in sorted(_own_files(), key=lambda entry: entry[1]):
        found.update(f"{name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    found.update(_locked_text().encode())
    return found.hexdigest()[:16]


def release(settings: Settings) -> Release:
    """The release of this version of the code.

    Raises:
        RetailError: it was not brought into the bucket, which is said with the command that does it; or no bucket answers.
    """
    from botocore.exceptions import ClientError  # noqa: PLC0415  only a lake in a bucket needs it

    key = _release_key(settings)
    with asking_bucket(f"s3://{settings.s3_bucket}/{key} cannot be read"):
        try:
            answer = aws_client(settings, "s3").get_object(Bucket=settings.s3_bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchKey":
                raise
            raise RetailError(
                f"this version's package is not in s3://{settings.s3_bucket}/{bucket_key(settings, _PACKAGES)}; bring it "
                "there with `retail cluster package`, from a checkout of the same version"
            ) from None
        data: dict[str, Any] = json.loads(answer["Body"].read())
    return Release(**data | {"jars": tuple(data["jars"])})


def bring(settings: Settings, architecture: Architecture, python: Path | None, say: Report) -> Release:
    """Build the parts and upload those that the bucket does not have; ``python`` as :func:`build_environment`.

    Raises:
        RetailError: a part cannot be built, or the bucket cannot be written.
    """
    client = aws_client(settings, "s3")

    def put(path: Path, name: str) -> str:
        key = bucket_key(settings, f"{_PACKAGES}/{name}")
        if _size(client, settings, key) == path.stat().st_size:
            say(f"is there    {name}")
        else:
            say(f"uploading   {name}, {path.stat().st_size / 1e6:.1f} MB")
            client.upload_file(str(path), settings.s3_bucket, key)
        return f"s3://{settings.s3_bucket}/{key}"

    with (
        tempfile.TemporaryDirectory(prefix="retail-package-") as folder,
        asking_bucket(f"s3://{settings.s3_bucket} cannot be written"),
    ):
        # EMR has S3A, and the AWS SDK that MSK's library uses, in versions of its own.
        groups: tuple[Group, ...] = ("spark", "msk")
        jars = tuple(
            put(path, f"jars/{jar.sha256[:16]}/{jar.file}")
            for group in groups
            for path, jar in zip(group_jars(group), locked()[group], strict=True)
        )
        platform = Path(folder) / "platform.tar.gz"
        pack(platform, _own_files())
        environment = build_environment(Path(folder), architecture, python, say)
        found = Release(
            put(environment, f"environment-{architecture}-{digest(environment)}.tar.gz"),
            put(platform, f"platform-{digest(platform)}.tar.gz"),
            put(_ENTRY, f"entry-{digest(_ENTRY)}.py"),
            jars,
        )
        # Last: what it names is there.
        body = json.dumps(asdict(found), indent=1).encode()
        client.put_object(Bucket=settings.s3_bucket, Key=_release_key(settings), Body=body)
    return found


def build_environment(folder: Path, architecture: Architecture, python: Path | None, say: Report) -> Path:
    """Build, below ``folder``, the archive of a Python for Linux on ``architecture`` and the locked packages in it.

    ``python`` is the folder of an unpacked one (with ``bin/`` and ``lib/``) that runs wherever it is put; left out, uv
    downloads one of the minor version that runs here.

    Raises:
        RetailError: uv is not there, or does not get what it needs; or ``python`` is no such folder.
    """
    home = _downloaded(folder / "python", architecture) if python is None else python
    library = next(iter(sorted(home.glob("lib/python3.*/os.py"))), None)
    if library is None or not (home / "bin" / "python3").exists():
        raise RetailError(f"{home} has no bin/python3, or no lib/python3.*: it is not the folder of a Python")
    version = library.parent.name.removeprefix("python")
    say(f"packages    for Python {version} on {architecture}")
    requirements = folder / "requirements.txt"
    requirements.write_text(locked_requirements(architecture, version))
    packages = folder / "site-packages"
    _uv(
        "pip", "install", "--target", packages, "--python-platform", f"{_MACHINES[architecture]}-manylinux_2_28",
        "--python-version", version, "--no-deps", "--only-binary", ":all:", "--require-hashes", "--requirements", requirements,
    )  # fmt: skip
    say("environment is packed")
    target = folder / "environment.tar.gz"
    inside = f"lib/python{version}"
    left_out = frozenset(f"{inside}/{name}" for name in ("site-packages", "test", "idlelib", "ensurepip", "tkinter"))
    pack(
        target,
        (
            *((path, name) for path, name in files_of(home, "", left_out) if _INTERPRETER.match(name)),
            # Scripts name the Python of this machine, and RECORD has their checksums.
            *(
                (path, name)
                for path, name in files_of(packages, f"{inside}/site-packages/", frozenset({"bin", ".lock"}))
                if not name.endswith(".dist-info/RECORD")
            ),
        ),
    )
    return target


def locked_requirements(architecture: Architecture, version: str) -> str:
    """The part of ``requirements.lock`` that the job needs on Linux, with its checksums; ``version`` is Python's minor one.

    Raises:
        RetailError: the lock is not there, or lacks one of them.
    """
    wanted = _needed(architecture, version)
    blocks = {}
    for block in re.split(r"\n(?=[a-z0-9])", _locked_text()):
        head = re.match(r"([a-z0-9._-]+)==[^\s;]+ *(?:; *([^\\]+))?", block)
        if head is not None and head[1] in wanted and _applies(head[2], architecture, version):
            blocks[head[1]] = block
    missing = sorted(wanted - blocks.keys())
    if missing:
        raise RetailError(f"{_LOCK} lacks {', '.join(missing)}; run `make lock`")
    return "\n".join(blocks[name] for name in sorted(blocks)) + "\n"


def _needed(architecture: Architecture, version: str) -> set[str]:
    """The distributions that :data:`ROOTS` need, in all, by what the installed ones say of themselves."""
    from packaging.requirements import Requirement  # noqa: PLC0415
    from packaging.utils import canonicalize_name  # noqa: PLC0415

    found: set[str] = set()
    waiting = [Requirement(root) for root in ROOTS]
    seen: set[tuple[str, str]] = set()
    while waiting:
        asked = waiting.pop()
        name = str(canonicalize_name(asked.name))
        if name in _SPARKS_OWN:
            continue
        found.add(name)
        for extra in ("", *asked.extras):
            if (name, extra) not in seen:
                seen.add((name, extra))
                waiting += _requirements_of(name, extra, architecture, version)
    return found


def _requirements_of(name: str, extra: str, architecture: Architecture, version: str) -> Iterator[Requirement]:
    from packaging.requirements import Requirement  # noqa: PLC0415

    for line in importlib.metadata.requires(name) or ():
        needed = Requirement(line)
        if needed.marker is None or needed.marker.evaluate(_target(architecture, version) | {"extra": extra}):
            yield needed


def _applies(marker: str | None, architecture: Architecture, version: str) -> bool:
    from packaging.markers import Marker  # noqa: PLC0415

    return marker is None or Marker(marker.strip()).evaluate(_target(architecture, version))


def _target(architecture: Architecture, version: str) -> dict[str, str]:
    return {
        "python_version": version,
        "python_full_version": f"{version}.0",
        "platform_machine": _MACHINES[architecture],
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }


def _downloaded(folder: Path, architecture: Architecture) -> Path:
    wanted = f"cpython-{sys.version_info.major}.{sys.version_info.minor}-linux-{_MACHINES[architecture]}-gnu"
    _uv("python", "install", "--install-dir", folder, "--no-bin", wanted)
    return next(path for path in sorted(folder.glob("cpython-*")) if not path.is_symlink())


def _uv(*arguments: str | Path) -> None:
    beside = Path(sys.executable).with_name("uv")
    command = str(beside) if beside.exists() else shutil.which("uv")
    if command is None:
        raise RetailError("uv was not found; run this from a checkout after `make setup`")
    done = subprocess.run(
        [command, *map(str, arguments), "--no-progress", "--no-config"], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        said = " ".join(line.strip() for line in done.stderr.splitlines() if line.strip())[-400:]
        raise RetailError(f"uv {arguments[0]} {arguments[1]} failed: {said}")


def _own_files() -> Iterator[tuple[Path, str]]:
    """This package, as it is to be imported there; not what a wheel carries along for those who have no checkout."""
    yield from files_of(_PACKAGE, "retail_platform/", frozenset({"project"}))


def _locked_text() -> str:
    try:
        return _LOCK.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RetailError(f"{_LOCK} is not there; run this from a checkout") from None


def _release_key(settings: Settings) -> str:
    return bucket_key(settings, f"{_PACKAGES}/release-{release_id()}.json")


def _size(client: Any, settings: Settings, key: str) -> int | None:
    from botocore.exceptions import ClientError  # noqa: PLC0415  only a lake in a bucket needs it

    try:
        return int(client.head_object(Bucket=settings.s3_bucket, Key=key)["ContentLength"])
    except ClientError as error:
        if error.response["Error"]["Code"] != "404":
            raise
        return None
