"""What is brought to EMR Serverless, and what a job run is told: all of it, nothing twice, no secret."""

from __future__ import annotations

import json
import os
import re
import struct
import sys
import tarfile
from pathlib import Path

import boto3
import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from retail_platform.cli.app import app
from retail_platform.cluster import package
from retail_platform.cluster.archive import files_of, pack
from retail_platform.cluster.job import SETTINGS, start_job_run
from retail_platform.cluster.package import Release, build_environment, locked_requirements, release, release_id
from retail_platform.errors import RetailError
from retail_platform.ingest import submitted
from retail_platform.lakehouse.location import aws_client
from retail_platform.settings import Settings, load_settings
from retail_platform_tests.ingest.running import in_a_bucket

RELEASE = Release(
    "s3://lake/e.tar.gz", "s3://lake/p.tar.gz", "s3://lake/entry.py", ("s3://lake/a.jar", "s3://lake/b.jar")
)
SECRETS = {"kafka_sasl_password": "one-secret", "aws_secret_access_key": "another", "snowflake_password": "a-third"}
AARCH64 = 183  # e_machine of an ELF file


def on_emr(**changes: object) -> Settings:
    chosen = {
        "emr_serverless_application": "00fabc",
        "emr_serverless_role": "arn:aws:iam::111122223333:role/retail-spark",
        "emr_serverless_kafka_login": "AmazonMSK_retail",
        "kafka_bootstrap_servers": "b-1.example.com:9096,b-2.example.com:9096",
        "kafka_security_protocol": "SASL_SSL",
        "kafka_sasl_username": "retail",
        "aws_access_key_id": "key",
        "s3_bucket": "lake",
    }
    return load_settings(env_file=None, **(SECRETS | chosen | changes))


def test_the_same_files_are_the_same_bytes_whenever_they_were_written(tmp_path: Path) -> None:
    archives = []
    for moment in (1, 2):
        folder = tmp_path / f"at-{moment}"
        (folder / "bin" / "__pycache__").mkdir(parents=True)
        (folder / "bin" / "python3.11").write_text("#!")
        (folder / "bin" / "python3.11").chmod(0o755 if moment == 1 else 0o775)
        (folder / "bin" / "python3").symlink_to("python3.11")
        (folder / "bin" / "__pycache__" / "x.pyc").write_text("bytecode")
        os.link(folder / "bin" / "python3.11", folder / "bin" / "same")
        os.utime(folder / "bin" / "python3.11", (moment, moment))
        archives.append(tmp_path / f"{moment}.tar.gz")
        pack(archives[-1], files_of(folder, "", frozenset({"bin/left-out"})))
    assert archives[0].read_bytes() == archives[1].read_bytes()
    with tarfile.open(archives[0]) as content:
        assert content.getnames() == ["bin/python3", "bin/python3.11", "bin/same"]
        assert content.getmember("bin/python3").linkname == "python3.11"
        assert [content.getmember(f"bin/{name}").isreg() for name in ("python3.11", "same")] == [True, True]
        assert content.getmember("bin/python3.11").mode == 0o755


def test_a_job_run_is_told_every_setting_that_differs_and_no_secret() -> None:
    settings = on_emr(ingest_trigger_seconds=2, business_timezone="Europe/London", lake_history_days=9)
    told = start_job_run(settings, RELEASE, "continuous")
    assert not [secret for secret in (*SECRETS.values(), "retail-secret") if secret in json.dumps(told)]
    submit = told["jobDriver"]["sparkSubmit"]
    given = dict(entry.split("=", 1) for entry in submit["entryPointArguments"][3::2])
    assert submit["entryPointArguments"][:2] == ["--mode", "continuous"]
    assert given["BUSINESS_TIMEZONE"] == "Europe/London"
    # What the driver makes of it, beside the login, is what the code server has.
    login = {"kafka_sasl_username": "retail", "kafka_sasl_password": "one-secret"}
    there = load_settings(env_file=None, **{name.lower(): value for name, value in given.items()}, **login)
    assert {name: getattr(there, name) for name in SETTINGS} == {name: getattr(settings, name) for name in SETTINGS}
    words = submit["sparkSubmitParameters"].split(" ")
    assert words[::2] == ["--conf"] * (len(words) // 2)
    assert not re.search(r"[\"'\\$`]", submit["sparkSubmitParameters"]), (
        "nothing that somebody could take apart otherwise"
    )
    assert "spark.archives=s3://lake/e.tar.gz#environment,s3://lake/p.tar.gz#platform" in words
    assert "spark.jars=s3://lake/a.jar,s3://lake/b.jar" in words
    assert told["executionTimeoutMinutes"] == 8 * 60 + 30


def test_a_job_run_gets_every_setting_of_the_ingest_and_none_that_is_secret_or_a_path() -> None:
    ingest = {name for name in Settings.model_fields if name.startswith("ingest_")} - {"ingest_nice"}
    assert ingest <= set(SETTINGS)
    kinds = [str(Settings.model_fields[name].annotation) for name in SETTINGS]
    assert not [kind for kind in kinds if "SecretStr" in kind or "Path" in kind]
    assert SecretStr.__name__ in str(Settings.model_fields["kafka_sasl_password"].annotation)


@pytest.mark.parametrize(("version", "numpy"), [("3.11", "2.4"), ("3.13", "2.5")])
def test_the_driver_gets_what_is_locked_for_its_python_and_sparks_own_is_left_to_spark(
    version: str, numpy: str
) -> None:
    text = locked_requirements("arm64", version)
    found = dict(re.findall(r"(?m)^([a-z0-9._-]+)==(\S+)", text))
    assert found["numpy"].startswith(numpy)
    assert {"aiokafka", "cramjam", "deltalake", "duckdb", "pyarrow", "pydantic-core", "botocore", "delta-spark"} <= set(
        found
    )
    assert not {"pyspark", "py4j", "dagster", "dbt-core", "quixstreams"} & set(found)
    assert len(re.findall(r"(?m)^[a-z0-9._-]+==", text)) == len(found), "one version of each"
    assert all("--hash=sha256:" in block for block in re.split(r"\n(?=[a-z])", text))


def test_nothing_is_uploaded_twice_and_another_version_finds_no_package(
    settings: Settings, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here = in_a_bucket(settings, s3_endpoint, aws_access_key_id="key", aws_secret_access_key="secret-of-a-test")
    monkeypatch.setattr("retail_platform.cli.cluster.get_settings", lambda: here)
    with pytest.raises(
        RetailError, match=r"^this version's package is not in s3://.*; bring it there with `retail cluster pa"
    ):
        release(here)
    # Building it takes minutes (test_emr.py does): here it is a file like any other.
    (tmp_path / "environment").write_text("a Python")
    monkeypatch.setattr(package, "build_environment", lambda *_: tmp_path / "environment")
    said = [CliRunner().invoke(app, ["cluster", "package"]) for _ in range(2)]
    assert [result.exit_code for result in said] == [0, 0]
    uploaded = [re.findall(r"(?m)^uploading   (\S+),", result.stderr) for result in said]
    assert len(uploaded[0]) > 10
    assert uploaded[1] == []
    brought = release(here)
    client = aws_client(here, "s3")
    for address in (brought.environment, brought.platform, brought.entry, *brought.jars):
        client.head_object(Bucket=here.s3_bucket, Key=address.removeprefix(f"s3://{here.s3_bucket}/"))
    client.download_file(here.s3_bucket, brought.platform.split("/", 3)[3], str(tmp_path / "platform.tar.gz"))
    with tarfile.open(tmp_path / "platform.tar.gz") as content:
        names = set(content.getnames())
    assert {"retail_platform/ingest/submitted.py", "retail_platform/embedded/jars.lock.json"} <= names
    assert not [name for name in names if "__pycache__" in name or not name.startswith("retail_platform/")]
    known = release_id()
    monkeypatch.setattr(package, "ROOTS", ())  # what is not in a file changes nothing
    assert release_id() == known


def test_a_folder_that_is_no_python_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    with pytest.raises(
        RetailError, match=r"has no bin/python3, or no lib/python3\.\*: it is not the folder of a Python"
    ):
        build_environment(tmp_path, "arm64", tmp_path, print)


def test_the_jobs_role_reads_the_login_and_says_what_is_wrong_with_it(
    s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (
        ("ENDPOINT_URL_SECRETS_MANAGER", s3_endpoint),
        ("ACCESS_KEY_ID", "k"),
        ("SECRET_ACCESS_KEY", "s"),
    ):
        monkeypatch.setenv(f"AWS_{name}", value)
    client = boto3.client("secretsmanager", region_name="eu-west-1")
    name = f"AmazonMSK_{os.urandom(4).hex()}"
    given = {"AWS_REGION": "eu-west-1", "EMR_SERVERLESS_KAFKA_LOGIN": name}
    arguments = ["--set", "AWS_REGION=eu-west-1", "--set", f"EMR_SERVERLESS_KAFKA_LOGIN={name}"]
    assert submitted.main(arguments) == 1
    assert re.fullmatch(
        r"error: EMR_SERVERLESS_KAFKA_LOGIN cannot be read by the job's role: .*\n", capsys.readouterr().err
    )
    client.create_secret(Name=name, SecretString='{"user": "retail"}')
    assert submitted.main(arguments) == 1
    assert capsys.readouterr().err.startswith("error: EMR_SERVERLESS_KAFKA_LOGIN must hold JSON like")
    client.put_secret_value(SecretId=name, SecretString='{"username": "retail", "password": "one-secret"}')
    assert submitted._login(given) == {"KAFKA_SASL_USERNAME": "retail", "KAFKA_SASL_PASSWORD": "one-secret"}
    assert submitted._login({}) == {}


@pytest.mark.parametrize(
    ("gateway", "version", "said"),
    [
        (None, "4.2.0", "SPARK_MASTER=submitted, but spark-submit has not started this process; unset it"),
        (
            "1",
            "3.5.6-amzn-0",
            "spark-submit is of Spark 3.5.6-amzn-0, and the platform needs 4.2.0; choose a release that has it",
        ),
    ],
)
def test_a_spark_that_the_platform_does_not_fit_is_refused_before_it_starts(
    monkeypatch: pytest.MonkeyPatch, gateway: str | None, version: str, said: str
) -> None:
    import pyspark

    from retail_platform.ingest.session import spark_session

    monkeypatch.setattr(pyspark, "__version__", version)
    if gateway is not None:
        monkeypatch.setenv("PYSPARK_GATEWAY_PORT", gateway)
    with pytest.raises(RetailError) as caught:
        spark_session(on_emr(spark_master="submitted"), "test")
    assert str(caught.value) == said


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_the_environment_for_another_architecture_holds_no_library_of_this_one(tmp_path: Path) -> None:
    # No Python for ARM can be had here: this machine's stands for it, and the packages are what is looked at.
    archive = build_environment(tmp_path, "arm64", Path(sys.base_prefix), print)
    machines: dict[int, int] = {}
    with tarfile.open(archive) as content:
        names = set(content.getnames())
        for member in content:
            if "/site-packages/" in member.name and ".so" in Path(member.name).name and member.isreg():
                file = content.extractfile(member)
                assert file is not None
                head = file.read(20)
                if head[:4] == b"\x7fELF":
                    (machine,) = struct.unpack("<H", head[18:20])
                    machines[machine] = machines.get(machine, 0) + 1
    assert set(machines) == {AARCH64}
    assert machines[AARCH64] > 100
    inside = f"lib/python{sys.version_info.major}.{sys.version_info.minor}"
    assert {"bin/python3", f"{inside}/site-packages/pyarrow/__init__.py", f"{inside}/os.py"} <= names
    assert not [name for name in names if "/site-packages/pyspark/" in name or name.endswith("/RECORD")]
