"""Who this process is to AWS: one chain for the bucket, MSK and EMR Serverless: the settings' key, the profile, a role."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from pydantic import SecretStr

from retail_platform.errors import RetailError
from retail_platform.settings import Settings

if TYPE_CHECKING:
    import boto3
    from botocore.credentials import ReadOnlyCredentials


@lru_cache(maxsize=4)
def session(settings: Settings) -> boto3.Session:
    """The session of boto3 with the settings' key or profile, and a role where they name neither.

    Raises:
        RetailError: there is no such profile.
    """
    import boto3  # noqa: PLC0415  only who is in AWS needs it
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415

    try:
        return boto3.Session(
            aws_access_key_id=settings.aws_access_key_id,
            aws_secret_access_key=plain(settings.aws_secret_access_key),
            aws_session_token=plain(settings.aws_session_token),
            profile_name=settings.aws_profile,
        )
    except BotoCoreError as error:
        raise RetailError(f"AWS_PROFILE: {error}") from error


def credentials(settings: Settings, wanted_for: str) -> ReadOnlyCredentials:
    """Key, secret and session token of this moment; a role's are renewed before they run out.

    Raises:
        RetailError: there are none; ``wanted_for`` is the setting that needs them.
    """
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        found = session(settings).get_credentials()
        frozen = None if found is None else found.get_frozen_credentials()
    except (BotoCoreError, ClientError) as error:
        raise RetailError(f"no credentials for {wanted_for}: {error}") from error
    if frozen is None:
        raise RetailError(
            f"no credentials for {wanted_for}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give this "
            "machine a role"
        )
    return frozen


def region(settings: Settings) -> str | None:
    """The region of the settings, or the profile's; ``None`` where neither says one."""
    return settings.aws_region or session(settings).region_name


def jvm_environment(settings: Settings) -> dict[str, str]:
    """What the AWS SDK in a JVM finds its credentials by: the settings, which may have come from ``.env``."""
    found = {
        "AWS_ACCESS_KEY_ID": settings.aws_access_key_id,
        "AWS_SECRET_ACCESS_KEY": plain(settings.aws_secret_access_key),
        "AWS_SESSION_TOKEN": plain(settings.aws_session_token),
        "AWS_PROFILE": settings.aws_profile,
        "AWS_REGION": region(settings),
    }
    return {name: value for name, value in found.items() if value}


def plain(secret: SecretStr | None) -> str | None:
    """What it hides."""
    return None if secret is None else secret.get_secret_value()
