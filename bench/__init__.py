"""Measurements that take longer than a test and produce tables. Not part of the installed package."""
