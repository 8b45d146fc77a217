"""Put a backup in the place of RETAIL_HOME: whole and as its manifest says, or not at all."""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from retail_platform.backup.copying import Copier
from retail_platform.backup.manifest import BackupManifest, Entry, from_json
from retail_platform.backup.taking import DATA, MANIFEST, settings_of
from retail_platform.embedded.broker import EmbeddedBroker
from retail_platform.errors import RetailError, SettingsError
from retail_platform.lakehouse.lease import holder
from retail_platform.settings import Settings

Progress = Callable[[int, int], None]
"""Called with the bytes that have been copied, and how many there are."""


@dataclass(frozen=True, slots=True)
class Restored:
    """A restored home; ``aside`` is where the one before it is now, ``None`` where there was none."""

    manifest: BackupManifest
    aside: Path | None
    seconds: float


def read_manifest(source: Path) -> BackupManifest:
    """The manifest of the backup in ``source``.

    Raises:
        RetailError: it is no backup, or an unfinished one.
    """
    try:
        return from_json((source / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        unfinished = (source / DATA).is_dir()
        what = "is a backup that was not finished; use another" if unfinished else "is not a backup"
        raise RetailError(f"{source} {what} (it has no {MANIFEST})") from None


def restore(settings: Settings, source: Path, on_progress: Progress) -> Restored:
    """Copy the backup beside RETAIL_HOME, compare each file with its checksum, and only then put it in its place.

    What was in RETAIL_HOME is moved aside, not removed.

    Raises:
        RetailError: it is no finished backup, a file is not what the manifest says, or something of the platform runs.
        SettingsError: a setting that the data depends on is another here.
    """
    began = time.monotonic()
    manifest = read_manifest(source)
    refuse_other_settings(settings, manifest)
    _refuse_running(settings)
    _refuse_full_disk(settings, manifest)
    draft = settings.retail_home.with_name(f".{settings.retail_home.name}.restoring")
    shutil.rmtree(draft, ignore_errors=True)  # of a restore that was killed
    try:
        copier = Copier(draft, lambda done: on_progress(done, manifest.bytes))
        for entry in manifest.files:
            _copy_checked(copier, source / DATA, entry)
        aside = _put_in_place(settings, draft)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Restored(manifest, aside, time.monotonic() - began)


def refuse_other_settings(settings: Settings, manifest: BackupManifest) -> None:
    """Refuse data that these settings would read wrongly.

    Raises:
        SettingsError: naming each setting.
    """
    here = settings_of(settings)
    others = [
        f"{name} is {here.get(name)} here and {value} in the backup"
        for name, value in manifest.settings.items()
        if here.get(name) != value
    ]
    if others:
        raise SettingsError(f"{'; '.join(others)}; set it as it was, then restore")


def occupied(settings: Settings) -> bool:
    """Whether there is something in RETAIL_HOME."""
    return settings.retail_home.is_dir() and any(settings.retail_home.iterdir())


def _copy_checked(copier: Copier, data: Path, entry: Entry) -> None:
    file = data / entry.path
    if not file.is_file() or file.resolve() != data.resolve() / entry.path:
        raise RetailError(f"the backup lacks {entry.path}, or has a link in its place; nothing was restored")
    if copier.copy(file, entry.path) != entry:
        raise RetailError(f"{entry.path} is not what was backed up (its checksum differs); nothing was restored")


def _put_in_place(settings: Settings, draft: Path) -> Path | None:
    home = settings.retail_home
    aside = None
    try:
        if occupied(settings):
            aside = home.with_name(f"{home.name}.before-restore-{time.strftime('%Y%m%dT%H%M%S')}")
            home.rename(aside)
        draft.rename(home)
    except OSError as error:
        raise RetailError(
            f"{home} cannot be replaced ({error.strerror}); a mount point cannot: set RETAIL_HOME to a folder below it"
        ) from error
    return aside


def _refuse_running(settings: Settings) -> None:
    owner = holder(settings)
    if owner is not None:
        raise RetailError(f"{owner.owner} (process {owner.pid}) writes the lake; stop it first (`retail stream stop`)")
    if _locked(settings.control_dir / "dev.lock"):
        raise RetailError(f"`retail dev` runs on {settings.retail_home}; stop it first")
    if settings.embedded_kafka and EmbeddedBroker(settings).status().running:
        raise RetailError("the embedded broker runs; stop it first (`retail kafka stop`)")


def _locked(path: Path) -> bool:
    if not path.exists():
        return False
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _refuse_full_disk(settings: Settings, manifest: BackupManifest) -> None:
    home = settings.retail_home
    place = next(path for path in home.parents if path.exists())
    free = shutil.disk_usage(place).free
    if free < manifest.bytes:
        raise RetailError(
            f"the backup has {manifest.bytes / 1e9:.1f} GB and {place} {free / 1e9:.1f} GB free; make room, or set RETAIL_HOME"
        )
