#!/usr/bin/python3
"""Asks the real daemons what the rules in peers.rs answered, with libfaketime for the clock.

    cargo run --example pools -- --trace postgrey  | tests/pools/daemons.py postgrey
    cargo run --example pools -- --trace greylistd | tests/pools/daemons.py greylistd

Wants Debian's packages postgrey, greylistd and libfaketime, installed or, with ROOT=DIR, unpacked there together with
libnet-server-perl, libberkeleydb-perl and libnetaddr-ip-perl. A trace has a line an attempt: time, client, sender,
recipient, "pass" or "defer", with tabs between. Prints how many answers agree and the first that do not; exits 1 for more
than one in a thousand: postgrey purges once a night at a moment that depends on its traffic, the rules at two o'clock.
"""

import glob
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.environ.get("ROOT", "")
WORK = tempfile.mkdtemp(prefix="eximgrey-daemons-")
SOCKET = WORK + "/socket"
CLOCK = os.open(WORK + "/clock", os.O_CREAT | os.O_WRONLY)


def set_clock(seconds):
    # Always 19 characters: the daemon never sees half of a new time behind half of an old one.
    os.pwrite(CLOCK, time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds)).encode(), 0)


def start(command):
    env = dict(
        os.environ,
        TZ="UTC",
        LD_PRELOAD=glob.glob(ROOT + "/usr/lib/*/faketime/libfaketime.so.1")[0],
        FAKETIME_TIMESTAMP_FILE=WORK + "/clock",
        FAKETIME_NO_CACHE="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
    )
    daemon = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=open(WORK + "/log", "w"))
    for _ in range(100):
        time.sleep(0.1)
        try:
            connect().close()
            return daemon
        except OSError:
            pass
    sys.exit("the daemon does not start: " + open(WORK + "/log").read())


def connect():
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(SOCKET)
    return connection


def postgrey():
    modules = ["-I" + path for path in [ROOT + "/usr/share/perl5", *glob.glob(ROOT + "/usr/lib/*/perl5/5.*")]]
    daemon = start(["perl", "-T", *modules, ROOT + "/usr/sbin/postgrey", "--unix=" + SOCKET, "--dbdir=" + WORK,
                    "--user=root", "--group=root", "--whitelist-clients=/dev/null",
                    "--whitelist-recipients=/dev/null"])
    connection = connect()

    def ask(client, sender, recipient):
        words = {"request": "smtpd_access_policy", "client_address": client, "client_name": "unknown",
                 "sender": sender, "recipient": recipient}
        connection.sendall("".join(f"{k}={v}\n" for k, v in words.items()).encode() + b"\n")
        answer = b""
        while not answer.endswith(b"\n\n"):
            answer += connection.recv(4096)
        return not answer.startswith(b"action=DEFER")

    return daemon, ask


def greylistd():
    with open(WORK + "/config", "w") as config:
        config.write("[timeouts]\nretryMin = 600\nretryMax = 28800\nexpire = 5184000\n"
                     f"[socket]\npath = {SOCKET}\nowner = root:root\nmode = 0660\n"
                     f"[data]\nupdate = 600\nstatefile = {WORK}/states\ntripletfile = {WORK}/triplets\n"
                     "savetriplets = false\n")
    daemon = start(["python3", ROOT + "/usr/sbin/greylistd", WORK + "/config"])

    def ask(client, sender, recipient):
        connection = connect()
        # It forgets when it saves, and saves when it is idle, as it often is in ten minutes: let it be so for a moment.
        time.sleep(0.001)
        connection.sendall(f"--grey {client} {sender} {recipient}".encode())
        answer = connection.recv(4096)
        connection.close()
        assert answer in (b"true", b"false"), answer
        return answer == b"false"

    return daemon, ask


def main():
    trace = [line.rstrip("\n").split("\t") for line in sys.stdin]
    set_clock(int(trace[0][0]) - 60)
    daemon, ask = {"postgrey": postgrey, "greylistd": greylistd}[sys.argv[1]]()
    agree, differ = 0, []
    try:
        for moment, client, sender, recipient, ours in trace:
            set_clock(int(moment))
            theirs = "pass" if ask(client, sender, recipient) else "defer"
            if theirs == ours:
                agree += 1
            else:
                differ.append((moment, client, sender, recipient, ours, theirs))
    finally:
        daemon.kill()
        daemon.wait()
        shutil.rmtree(WORK)
    print(f"{sys.argv[1]}: {agree} of {len(trace)} answers agree")
    for line in differ[:10]:
        print(*line)
    sys.exit(1 if len(differ) * 1000 > len(trace) else 0)


main()
