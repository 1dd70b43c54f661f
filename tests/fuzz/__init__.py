"""Generated inputs for what reads untrusted bytes: `python -m tests.fuzz` runs them, and no test run does.

A target is a module: bodies, credentials, claims, filters, records or replies. It makes inputs, runs them,
and judges what came of each.
"""
