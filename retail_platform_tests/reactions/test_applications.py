"""The applications and the contracts tell of the same topics."""

from __future__ import annotations

from retail_platform.contracts import REACTION_TOPICS
from retail_platform.reactions.applications import APPLICATIONS


def test_every_topic_of_the_reactions_is_written_by_one_application() -> None:
    written = [topic.topic for one in APPLICATIONS for topic in one.writes]
    assert sorted(written) == sorted(topic.topic for topic in REACTION_TOPICS)
