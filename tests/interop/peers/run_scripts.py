#!/usr/bin/env python3
"""Runs byte code by tapescript. Takes one JSON line on standard input,
{"fields": [hex, ..], "timestamp": N, "codes": [hex, ..]}, and prints one,
{"results": [..]}: for each code the stack, the bottom first, or null if it
failed; and whether it has seen the text of a failure."""

import json
import sys

from tapescript import run_script


def run(code, values):
    try:
        _, stack, cache = run_script(code, values)
    except BaseException:
        return {'stack': None}
    return {'stack': [item.hex() for item in stack.list()], 'told': b'E' in cache}


job = json.loads(sys.stdin.readline())
values = {'timestamp': job['timestamp']}
for i, value in enumerate(job['fields']):
    values[f'sigfield{i + 1}'] = bytes.fromhex(value)
results = [run(bytes.fromhex(code), values) for code in job['codes']]
print(json.dumps({'results': results}), flush=True)
