"""The code location: loads ``defs/``, nothing else."""

import warnings

import dagster as dg

warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)

from retail_platform.defs import build_defs  # noqa: E402
from retail_platform.settings import get_settings  # noqa: E402

defs = build_defs(get_settings())
