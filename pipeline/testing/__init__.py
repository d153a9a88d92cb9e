"""What tests of an encoder need, for packages other than this one, too; it needs pytest, which the stages do not."""

import pytest

pytest.register_assert_rewrite("pipeline.testing.conformance")
