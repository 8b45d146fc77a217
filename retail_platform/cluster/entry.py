"""What Spark starts on EMR Serverless: this file alone, in a folder where ``spark.archives`` has unpacked the package."""

import os
import sys

sys.path.insert(0, os.path.abspath("platform"))  # noqa: PTH100  as early as this, only what every Python has

from retail_platform.ingest.submitted import main

sys.exit(main())
