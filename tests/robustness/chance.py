"""Chance that can be repeated: every random test takes its dice from here, and prints the seed it ran with."""

import os
import random

SEED = int(os.environ.get("TOOLOO_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)


def dice(name: str) -> random.Random:
    """Random numbers for one use, the same ones again under the same TOOLOO_TEST_SEED."""
    print(f"{name}: TOOLOO_TEST_SEED={SEED}")
    return random.Random(f"{SEED}/{name}")


def how_many(setting: str, otherwise: int) -> int:
    """A test's size from an environment variable, e.g. TOOLOO_CHAOS_KILLS."""
    return int(os.environ.get(setting, "0")) or otherwise
