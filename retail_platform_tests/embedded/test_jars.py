"""The locked jars: verified, whole or not there, and never downloaded twice."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest

from retail_platform.embedded import jars
from retail_platform.errors import RetailError
from retail_platform.settings import load_settings


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A jar cache of the test's own with every jar in it, and no network."""
    everything = {jar.file: jar.path for group in jars.locked().values() for jar in group}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    jars.jars_dir().mkdir(parents=True)
    for name, path in everything.items():
        (jars.jars_dir() / name).symlink_to(path)
    # The JVM is told to use a proxy on a port that nobody listens on.
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        proxy = f"http://127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.setenv("https_proxy", proxy)
    return jars.jars_dir()


def smallest() -> jars.Jar:
    return min(jars.locked()["kafka"], key=lambda jar: jar.size)


def partial(cache: Path, jar: jars.Jar) -> Path:
    """Where an interrupted fetch leaves a jar."""
    place = cache / ".partial" / "0" / "cache" / "org" / "jars" / jar.file
    place.parent.mkdir(parents=True)
    return place


def test_spark_gets_the_connectors_and_nothing_that_it_ships() -> None:
    assert sorted(path.name for path in jars.spark_jars(load_settings(env_file=None))) == [
        "commons-pool2-2.13.1.jar",
        "delta-kernel-api-4.4.0.jar",
        "delta-kernel-defaults-4.4.0.jar",
        "delta-kernel-unitycatalog-4.4.0.jar",
        "delta-spark_4.2_2.13-4.4.0.jar",
        "delta-storage-4.4.0.jar",
        "kafka-clients-3.9.2.jar",
        "spark-sql-kafka-0-10_2.13-4.2.0.jar",
        "spark-token-provider-kafka-0-10_2.13-4.2.0.jar",
    ]
    assert all(path.is_file() for path in jars.spark_jars(load_settings(env_file=None)))


def test_the_class_path_of_the_broker_is_its_locked_jars() -> None:
    entries = jars.class_path("kafka").split(os.pathsep)
    assert [Path(entry).name for entry in entries] == [jar.file for jar in jars.locked()["kafka"]]
    assert "kafka_2.13-4.3.1.jar" in {Path(entry).name for entry in entries}


def test_the_lock_names_no_host_and_each_file_once() -> None:
    text = jars.LOCK_FILE.read_text()
    assert "://" not in text
    assert "repo" not in text
    names = [jar.file for group in jars.locked().values() for jar in group]
    assert len(names) == len(set(names))


def test_with_every_jar_there_nothing_is_started(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: object, **__: object) -> None:
        pytest.fail("a download was started")

    monkeypatch.setattr(jars, "_start_ivy", start)
    assert jars.fetch() == []
    assert not (cache / ".partial").exists()


def test_a_missing_or_cut_off_jar_says_make_setup(cache: Path) -> None:
    jar = smallest()
    (cache / jar.file).unlink()
    with pytest.raises(RetailError, match=rf"1 of the kafka jars .*{jar.file}.*make setup"):
        jars.class_path("kafka")
    (cache / jar.file).write_bytes(b"PK")
    with pytest.raises(RetailError, match="make setup"):
        jars.class_path("kafka")
    assert jars.spark_jars(load_settings(env_file=None))


def test_without_network_the_fetch_ends_in_one_line_that_says_what_to_do(cache: Path) -> None:
    jar = smallest()
    (cache / jar.file).unlink()
    with pytest.raises(RetailError, match=rf"{jar.coordinate}.*network.*make setup") as told:
        jars.fetch()
    assert "\n" not in str(told.value)
    assert not jar.present


def test_what_an_interrupted_fetch_brought_is_kept(cache: Path) -> None:
    arrived, missing = sorted(jars.locked()["kafka"], key=lambda jar: jar.size)[:2]
    place = partial(cache, arrived)
    shutil.copy((cache / arrived.file).resolve(), place)
    (cache / arrived.file).unlink()
    (cache / missing.file).unlink()
    with pytest.raises(RetailError, match=rf"1 of the jars could not be downloaded \({missing.coordinate}\)"):
        jars.fetch()
    assert arrived.present
    assert not (cache / arrived.file).is_symlink()


def test_a_file_that_is_not_what_the_lock_says_is_never_taken(cache: Path) -> None:
    jar = smallest()
    (cache / jar.file).unlink()
    place = partial(cache, jar)
    place.write_bytes(bytes(jar.size))
    with pytest.raises(RetailError, match=rf"{jar.coordinate} is not the file that the lock names"):
        jars.fetch()
    assert not jar.present
    assert not place.exists()


def test_the_command_prints_the_line_and_fails(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert jars.main(["fetch"]) == 0
    (cache / smallest().file).unlink()
    assert jars.main(["fetch"]) == 1
    assert "check the network" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")  # cryptography's, about some authorities' certificates
def test_the_bundled_java_trusts_the_authorities_that_python_trusts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jars, "is_bundled", lambda _: True)
    options = jars._trust_options(Path("java"), tmp_path)
    assert options[0] == f"-Djavax.net.ssl.trustStore={tmp_path / 'truststore.p12'}"
    from cryptography.hazmat.primitives.serialization import pkcs12

    store = pkcs12.load_pkcs12((tmp_path / "truststore.p12").read_bytes(), b"changeit")
    assert store.additional_certs
