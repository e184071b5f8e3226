"""Measurements that take longer than a test and leave a table. Not part of the installed package."""
