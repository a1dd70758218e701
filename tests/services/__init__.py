"""Real servers for the tests, from Debian packages, each on a free loopback port and in a directory of its own.

A missing server fails the run under ``CI=true``; elsewhere the tests that need it are skipped with a loud line.
"""
