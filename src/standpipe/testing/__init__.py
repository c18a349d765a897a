"""For tests of producers, and of programs that use them: fakes and a manual clock. Public."""

from standpipe.testing.clock import ManualClock

__all__ = ["ManualClock"]
