#!/usr/bin/env python3
"""Makes the virtual environment of the live tests: environment.py DIR PACKAGE..
Prints one JSON line: {"python": interpreter} or {"error": text}.

Test processes start at once, so one of them makes it under a file lock, which
the system releases however that process ends.  A marker file, written last,
tells a finished environment from a half-made one."""

import json
import os
import shutil
import subprocess
import sys
import time

START = time.time()


class Failed(Exception):
    pass


def run(limit, *command):
    """Run a command; its output is the text of a failure."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=limit,
        )
    except OSError as e:
        raise Failed('%s: %s' % (command[0], e))
    except subprocess.TimeoutExpired:
        raise Failed('%s: no end after %s s' % (' '.join(command), limit))
    if done.returncode:
        text = done.stdout.decode('utf-8', 'replace').strip()
        raise Failed('%s:\n%s' % (' '.join(command), text[-1500:]))


def create(folder):
    """An empty environment with pip.  Debian keeps ensurepip, which venv needs,
    in a package of its own; virtualenv brings its own pip."""
    failures = []
    for command in (
        [sys.executable, '-m', 'venv'],
        [sys.executable, '-m', 'virtualenv'],
        ['virtualenv', '--python', sys.executable],
    ):
        shutil.rmtree(folder, ignore_errors=True)
        try:
            return run(120, *(command + [folder]))
        except Failed as e:
            failures.append(str(e))
    raise Failed('\n'.join(failures))


def make(folder, packages):
    python = os.path.join(folder, 'bin', 'python')
    marker = os.path.join(folder, 'complete')
    failure = folder + '.failed'
    # An environment belongs to the interpreter that made it.
    wanted = json.dumps([sys.executable, sys.version, packages])
    try:
        with open(marker) as f:
            if f.read() == wanted and os.path.exists(python):
                return python
    except OSError:
        pass
    try:
        # Whoever had the lock before has just failed: so would this one.
        if os.path.getmtime(failure) > START:
            with open(failure) as f:
                raise Failed(f.read())
    except OSError:
        pass
    if os.path.exists(marker):
        # First of all: removing the rest takes time, and may be interrupted.
        os.unlink(marker)
    try:
        create(folder)
        pip = [python, '-m', 'pip', '--disable-pip-version-check', '--no-input']
        run(240, *(pip + ['install', '--quiet', '--retries', '2'] + packages))
        run(60, python, '-c', 'import nacl, netaio, tapescript')
    except Failed as e:
        with open(failure, 'w') as f:
            f.write(str(e))
        raise
    with open(marker, 'w') as f:
        f.write(wanted)
    return python


def main(folder, *packages):
    if sys.version_info < (3, 10):
        raise Failed('netaio needs Python 3.10, this is ' + sys.version)
    import fcntl

    os.makedirs(os.path.dirname(folder), exist_ok=True)
    with open(folder + '.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return make(folder, list(packages))


if __name__ == '__main__':
    try:
        print(json.dumps({'python': main(*sys.argv[1:])}))
    except (Failed, OSError) as e:
        print(json.dumps({'error': str(e)}))
        sys.exit(1)
