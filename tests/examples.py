"""How many examples Hypothesis draws: in the quick tests a fifth."""

from hypothesis import settings

# What a profile has where nothing else is said: 100 unless the slow tests are left out.
USUAL = 100


def examples(most):
    """The settings of a test that draws so many examples when all tests run."""
    return settings(max_examples=-(-most * settings.default.max_examples // USUAL))
