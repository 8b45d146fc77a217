"""What a secured Kafka's refusals mean, in the words of its three kinds of clients: aiokafka, Java (Spark), librdkafka.

Each says the same thing differently, often deep in a chain of causes. Pure text in, one line out.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from retail_platform.settings import Settings

_GRANTS = "(docs/operate/kafka-access.md lists what each part needs)"


class _Refusal(NamedTuple):
    """``signs``: how the clients say it; ``line``: what that means; ``{user}`` and the like come from the settings."""

    signs: re.Pattern[str]
    line: str


def _refusal(signs: str, line: str) -> _Refusal:
    return _Refusal(re.compile(signs, re.IGNORECASE), line)


# The first that fits counts: the particular ones stand before those that only say that something is wrong.
_REFUSALS = (
    _refusal(
        r"unsupported ?sasl ?mechanism|mechanism \S+ not enabled in the server|mechanism handshake failed",
        "Kafka does not take the SASL mechanism {mechanism}; set KAFKA_SASL_MECHANISM to one that it takes",
    ),
    _refusal(
        r"sasl ?authentication ?(failed|exception|error)|invalid credentials",
        "Kafka refuses the login of {user}; check {login}",
    ),
    _refusal(
        r"certificate has expired|CertificateExpired|NotAfter:",
        "the certificate of the broker at {servers} has expired; renew it there (or mend this machine's clock)",
    ),
    _refusal(
        r"certificate is not valid for|no subject alternative|no name matching|hostname mismatch",
        "the certificate of the broker at {servers} is for another host; name the brokers in KAFKA_BOOTSTRAP_SERVERS as "
        "their certificates do",
    ),
    _refusal(
        r"unable to get (local )?issuer|self.signed certificate|unable to find valid certification path|PKIX path",
        "no authority that is trusted here has signed the certificate of the broker at {servers}; name its authorities' "
        "PEM file in KAFKA_SSL_CA_FILE",
    ),
    _refusal(
        r"certificate verify failed",
        "the certificate of the broker at {servers} cannot be verified; check KAFKA_SSL_CA_FILE, that it has not expired, "
        "and that it is for that host",
    ),
    _refusal(
        r"alert bad certificate|bad_certificate|certificate.required",
        "the broker at {servers} refuses this client's certificate, or misses one; set KAFKA_SSL_CERTIFICATE_FILE",
    ),
    _refusal(
        r"Connection at \S+ closed|ConnectionReset|IllegalSaslState|unrecognized SSL message|wrong.version.number",
        "the broker at {servers} hangs up on {protocol}; check KAFKA_SECURITY_PROTOCOL, and whether it asks for a certificate "
        "(KAFKA_SSL_CERTIFICATE_FILE)",
    ),
    _refusal(
        r"topic ?authorization ?(failed|exception)|TOPIC_AUTHORIZATION_FAILED|not authorized to access topics",
        "{user} may not do this with the topic{topics}; grant it " + _GRANTS,
    ),
    _refusal(
        r"group ?authorization ?(failed|exception)|GROUP_AUTHORIZATION_FAILED|not authorized to access group",
        "{user} may not use the consumer group; grant it Read, or set REACTIONS_GROUP to one that it may use "
        + _GRANTS,
    ),
    _refusal(
        r"transactional ?id ?authorization ?(failed|exception)|TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
        "{user} may not write in transactions; grant it Write and Describe on the transactional ids " + _GRANTS,
    ),
    _refusal(
        r"cluster ?authorization ?(failed|exception)|CLUSTER_AUTHORIZATION_FAILED",
        "{user} may write to no topic; grant it Write on those that it is to write " + _GRANTS,
    ),
)
_TOPICS = re.compile(
    r"access topics: ?\[?\{?'?([A-Za-z0-9._, -]+)|TopicAuthorizationFailedError[^\[{]*[\[{]'?([\w.,' -]+)"
)


def refusal(settings: Settings, said: str) -> str | None:
    """One line that names what was refused, to whom, and the mend; ``None`` when ``said`` is about something else."""
    for signs, line in _REFUSALS:
        if signs.search(said):
            named = _TOPICS.search(said)
            topics = (named[1] or named[2]).strip(" '") if named else ""
            user = f"the user {settings.kafka_sasl_username}" if settings.kafka_sasl_username else "this client"
            login = "KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"
            if settings.kafka_by_iam:
                user = "this AWS identity"
                login = "the AWS credentials, and that their policy allows kafka-cluster:Connect on this cluster"
            return line.format(
                user=user,
                login=login,
                servers=settings.bootstrap_servers,
                protocol=settings.kafka_security_protocol,
                mechanism=settings.kafka_sasl_mechanism,
                topics=f" {topics}" if topics else "",
            )
    return None
