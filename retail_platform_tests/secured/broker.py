"""A broker as production has it: TLS, SASL, and ACLs that give each part of the platform what it needs and no more."""

from __future__ import annotations

import argparse
import contextlib
import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from pydantic import SecretStr

from retail_platform import kafka
from retail_platform.access import Part, parts
from retail_platform.embedded.broker import EmbeddedBroker, Guard
from retail_platform.embedded.ports import free_port_pair
from retail_platform.settings import Settings, load_settings
from retail_platform_tests.secured.authority import Authority

HERE = "127.0.0.1"
#: A password with every character that a configuration file, JSON or a JAAS line could trip over.
PASSWORD = 'm4rk3r-"kafka\\pass#word$'
LACKING = {"groupless": "group", "transactionless": "transactional-id"}
_ROOT_PASSWORD = "root-pass"


@dataclass(frozen=True)
class SecuredBroker:
    """The broker that runs, and how to reach it.

    Its listeners: ``client`` (SASL_SSL), ``mutual`` (SSL, asks for a certificate), ``expired`` and ``elsewhere`` (SASL_SSL
    with a certificate that has expired, and with one of another host).
    """

    folder: Path
    root: Settings
    authority: Authority
    stranger: Authority
    ports: dict[str, int]

    def settings(self, user: str, listener: str = "client", **changes: Any) -> Settings:
        """What ``user`` has to set to get in."""
        login = {
            "kafka_security_protocol": "SASL_SSL",
            "kafka_sasl_username": user,
            "kafka_sasl_password": PASSWORD,
            "kafka_ssl_ca_file": self.authority.certificate,
        }
        home = self.folder / "clients" / user
        return load_settings(
            env_file=None,
            retail_home=home,
            retail_outputs=home / "outputs",
            kafka_bootstrap_servers=f"{HERE}:{self.ports[listener]}",
            ingest_trigger_seconds=0.2,
            **login | changes,
        )

    def grant(self, commands: Iterable[str]) -> None:
        """Do what these ``kafka-acls.sh`` commands ask for; the tool itself is not among the embedded broker's jars."""
        bindings = [binding for command in commands for binding in _bindings(command)]
        admin = AdminClient(kafka.librdkafka_options(self.root))
        for future in admin.create_acls(bindings).values():
            future.result(10)

    def part(self, name: str) -> Part:
        """The declared part of that name."""
        return next(part for part in parts(self.root) if part.name == name)


def _bindings(command: str) -> Iterator[AclBinding]:
    parser = argparse.ArgumentParser()
    for name in ("bootstrap-server", "command-config", "allow-principal"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--resource-pattern-type", choices=("literal", "prefixed"), default="literal")
    parser.add_argument("--add", action="store_true", required=True)
    for name in ("operation", "topic", "group", "transactional-id"):
        parser.add_argument(f"--{name}", action="append", default=[])
    tool, *words = shlex.split(command)
    assert tool == "kafka-acls.sh"
    asked = parser.parse_args(words)
    pattern = ResourcePatternType[asked.resource_pattern_type.upper()]
    for resource in ("topic", "group", "transactional_id"):
        for name in getattr(asked, resource):
            for operation in asked.operation:
                act = AclOperation[re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).upper()]
                kind = ResourceType[resource.upper()]
                yield AclBinding(kind, name, pattern, asked.allow_principal, "*", act, AclPermissionType.ALLOW)


@contextlib.contextmanager
def secured_broker(folder: Path) -> Iterator[SecuredBroker]:
    """Run one; a user a part, each with the password :data:`PASSWORD`.

    ``nobody`` has no grants at all; those of :data:`LACKING` have the reactions' but for one kind of resource.
    """
    authority, stranger = Authority(folder, "authority"), Authority(folder, "stranger")
    first, second = free_port_pair(), free_port_pair()
    ports = {"client": first, "mutual": second, "expired": second + 1, "elsewhere": free_port_pair()}
    keystores = {
        "client": authority.sign("broker", HERE),
        "mutual": authority.sign("broker-mutual", HERE),
        "expired": authority.sign("broker-expired", HERE, expired=True),
        "elsewhere": authority.sign("broker-elsewhere", host="kafka.example.com"),
    }
    addresses = ",".join(f"{name.upper()}://{HERE}:{port}" for name, port in ports.items())
    protocols = ",".join(f"{name.upper()}:{'SSL' if name == 'mutual' else 'SASL_SSL'}" for name in ports)
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule"
    plain = "org.apache.kafka.common.security.plain.PlainLoginModule"
    properties = {
        "listeners": f"{addresses},CONTROLLER://{HERE}:{first + 1}",
        "advertised.listeners": addresses,
        "listener.security.protocol.map": f"{protocols},CONTROLLER:PLAINTEXT",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        # Only the controller's listener, on loopback, lets anybody in without a name: the broker itself.
        "super.users": "User:root;User:ANONYMOUS",
        "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority.certificate),
        "listener.name.mutual.ssl.client.auth": "required",
        "ssl.principal.mapping.rules": "RULE:^CN=(.*)$/$1/",
        "listener.name.client.scram-sha-512.sasl.jaas.config": (
            f'{scram} required username="root" password="{_ROOT_PASSWORD}";'
        ),
        "listener.name.client.plain.sasl.jaas.config": f'{plain} required user_plain="plain-pass";',
    }
    for name, keystore in keystores.items():
        properties[f"listener.name.{name}.ssl.keystore.type"] = "PEM"
        properties[f"listener.name.{name}.ssl.keystore.location"] = str(keystore.both)
    for name in ("expired", "elsewhere"):
        properties[f"listener.name.{name}.sasl.enabled.mechanisms"] = "SCRAM-SHA-512"
        properties[f"listener.name.{name}.scram-sha-512.sasl.jaas.config"] = f"{scram} required;"
    root = load_settings(env_file=None, retail_home=folder / "home", kafka_embedded_port=first).model_copy(
        update={
            "kafka_security_protocol": "SASL_SSL",
            "kafka_sasl_username": "root",
            "kafka_sasl_password": SecretStr(_ROOT_PASSWORD),
            "kafka_ssl_ca_file": authority.certificate,
        }
    )
    names = [*(part.name for part in parts(root)), "nobody", *LACKING]
    users = {"root": SecretStr(_ROOT_PASSWORD)} | {name: SecretStr(PASSWORD) for name in names}
    server = EmbeddedBroker(root, Guard(properties, users))
    server.start()
    broker = SecuredBroker(folder, root, authority, stranger, ports)
    try:
        for part in parts(root):
            broker.grant(part.commands(part.name, root.bootstrap_servers))
        for user, resource in LACKING.items():
            reactions = broker.part("reactions")
            rest = replace(reactions, grants=tuple(grant for grant in reactions.grants if grant.resource != resource))
            broker.grant(rest.commands(user, root.bootstrap_servers))
        yield broker
    finally:
        server.stop()
