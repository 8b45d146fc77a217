"""Logins to Amazon MSK by IAM (``KAFKA_SASL_MECHANISM=AWS_MSK_IAM``): what each kind of client is given to prove who it is.

To Java's clients MSK speaks a mechanism of its own, which a library of Amazon's knows. Python's show a token instead
(OAUTHBEARER): an address that is signed with AWS credentials, good for 15 minutes.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

from retail_platform import aws
from retail_platform.errors import SettingsError
from retail_platform.settings import Settings

if TYPE_CHECKING:
    from aiokafka.abc import AbstractTokenProvider

MECHANISM = "AWS_MSK_IAM"
#: What Java's clients are told: no credentials, for the library looks them up itself.
JAVA_OPTIONS = {
    "sasl.mechanism": MECHANISM,
    "sasl.jaas.config": "software.amazon.msk.auth.iam.IAMLoginModule required;",
    "sasl.client.callback.handler.class": "software.amazon.msk.auth.iam.IAMClientCallbackHandler",
}

_WANTED_FOR = f"KAFKA_SASL_MECHANISM={MECHANISM}"
_REGION_OF_HOST = re.compile(r"\.kafka(?:-serverless)?\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?:")


def require_credentials(settings: Settings) -> None:
    """Say what a client would say late and in many lines.

    Raises:
        RetailError: there are no AWS credentials.
        SettingsError: nothing says which region MSK is in.
    """
    aws.credentials(settings, _WANTED_FOR)
    region(settings)


def region(settings: Settings) -> str:
    """The region that a login is signed for: the brokers' names say it, or else AWS_REGION, as in Java's library.

    Raises:
        SettingsError: neither does.
    """
    named = _REGION_OF_HOST.search(settings.bootstrap_servers)
    found = named[1] if named else aws.region(settings)
    if found is None:
        raise SettingsError(
            f"AWS_REGION is missing; {_WANTED_FOR} signs for a region, and KAFKA_BOOTSTRAP_SERVERS does not name one"
        )
    return found


def token(settings: Settings) -> tuple[str, float]:
    """A token for OAUTHBEARER, and when it ends, in seconds of the epoch.

    Raises:
        RetailError: as :func:`require_credentials`.
    """
    from aws_msk_iam_sasl_signer import MSKAuthTokenProvider  # noqa: PLC0415  only who logs in so needs it
    from botocore.credentials import CredentialProvider  # noqa: PLC0415

    class Found(CredentialProvider):  # type: ignore[misc]
        def load(self) -> Any:
            return aws.credentials(settings, _WANTED_FOR)

    signed, ends_ms = MSKAuthTokenProvider.generate_auth_token_from_credentials_provider(region(settings), Found())
    return signed, ends_ms / 1000


def token_provider(settings: Settings) -> AbstractTokenProvider:
    """What aiokafka asks for a token at each connection."""
    from aiokafka.abc import AbstractTokenProvider as Provider  # noqa: PLC0415

    class Tokens(Provider):  # type: ignore[misc]
        async def token(self) -> str:
            # A role's credentials are renewed by a call.
            return (await asyncio.to_thread(token, settings))[0]

    return Tokens()
