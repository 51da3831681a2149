"""What the C library can be told. How often pages fault is the kernel's affair too, and so no matter for a test."""

import platform

from seqsweep.models.memory import keep_pages


def test_glibc_takes_both_settings_and_others_are_left_alone() -> None:
    assert keep_pages() == (platform.libc_ver()[0] == "glibc")
