"""``python -m retail_platform.reactions.wiring.job``: run the reactions until SIGINT or SIGTERM.

Exit codes: 0 stopped, 1 failed, 2 wrong settings. Killed at any moment it loses nothing: what it had not committed, it
does again when it is started.
"""

from __future__ import annotations

import sys

from retail_platform import kafka
from retail_platform.errors import RetailError
from retail_platform.reactions.metrics.rates import read_rates
from retail_platform.reactions.wiring.application import application
from retail_platform.reactions.wiring.topology import wire
from retail_platform.settings import FX_RATES, get_settings


def main() -> int:
    """Run the application; what went wrong is one line on standard error."""
    try:
        settings = get_settings()
        kafka.ensure_topics(settings)
        app = application(settings)
        with FX_RATES.open(encoding="utf-8") as lines:
            wire(app, settings, read_rates(lines))
    except RetailError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    app.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
