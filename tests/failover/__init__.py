"""Failovers under traffic, judged: `python -m tests.failover` runs rounds of them, and no test run does.

A world (worlds.py) has the servers, and an event (events.py) is what is done to them in a round. Meanwhile
processes (workers.py) verify, make and end credentials (traffic.py), and note when they asked and what came
of it. What they have noted is judged apart from all that (history.py).
"""
