"""What a machine's boot does besides starting services: each module is one step, a program of its
own that a unit of units/system runs as `unboxed boot STEP`.

Law: a step is a client like any other. It may block, fail or be killed, and no supervisor waits
inside of it; where a well-kept tool does the work, the step calls that and tells what it said.
"""
