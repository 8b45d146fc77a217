"""Tests, one folder a part of the package; they need nothing but the environment that `make setup` brings."""
