#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds and runs the demo: the car rental of the field on a virtual server."""

from __future__ import annotations

import argparse
import os
import sys

from driver import build, cleaning, guide, registries, releases, secrets_file, snapshots, vps
from driver.console import DemoError, fail, say, timed
from driver.lock import machine_lock
from driver.settings import Instance, instance

SHARED = ("build", "registries", "secrets", "releases", "clean")


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="demo.py", description=__doc__)
    name = os.environ.get("DEMO_INSTANCE", "demo")
    top.add_argument(
        "--instance", default=name, help="which virtual server (default: DEMO_INSTANCE or demo)"
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    # The option may also stand behind the command; there it must not overwrite
    # what stands before it, hence SUPPRESS.
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--instance", default=argparse.SUPPRESS, help=argparse.SUPPRESS)

    def command(word: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(word, help=text, parents=[common])

    command("build", "build or refresh all images")
    command("registries", "start both registries and push what they lack")
    command("secrets", "generate secrets and a certificate, once")
    command("up", "boot the virtual server").add_argument(
        "--bare", choices=("trixie", "bookworm"), help="without Docker"
    )
    command("down", "remove the virtual server")
    command("snapshot", "keep the state of the server").add_argument("name")
    command("reset", "go back to a snapshot").add_argument("name")
    command("has-snapshot", "exit code 0 if there is such a snapshot").add_argument("name")
    command("drop-snapshots", "remove snapshots by the beginning of their names").add_argument(
        "--prefix", required=True
    )
    command("releases", "print and check the table of releases").add_argument(
        "--version-of", metavar="NAME", help="print the version of one release alone"
    )
    command("version", "the version that was deployed last, or that of v1")
    command("next", "what to try")
    command("ssh", "a shell on the server, or one command").add_argument(
        "words", nargs=argparse.REMAINDER
    )
    command("status", "what exists and what runs")
    command("clean", "remove everything that the demo made")
    return top


def on_machine(args: argparse.Namespace) -> None:
    """Commands about what all servers share."""
    match args.command:
        case "build":
            with machine_lock("images"), timed("build"):
                releases.load()
                build.build_all()
                releases.build_all()
        case "registries":
            with machine_lock("images"):
                registries.start()
                registries.fill()
        case "clean":
            with machine_lock("images"):
                cleaning.clean()
        case "secrets":
            secrets_file.write()
        case "releases" if args.version_of:
            say(releases.named(args.version_of).version)
        case "releases":
            releases.print_table()


def on_server(server: Instance, args: argparse.Namespace) -> int:
    """Commands about one server; those that change it take turns."""
    match args.command:
        case "ssh":
            return vps.interactive_ssh(server, args.words)
        case "has-snapshot":
            return 0 if snapshots.exists(server, args.name) else 1
        case "version":
            say(guide.deployed_version(server))
            return 0
        case "next":
            guide.next_steps(server)
            return 0
        case "status":
            for line in cleaning.status_lines(server):
                say(line)
            return 0
    with machine_lock(server.name):
        match args.command:
            case "up":
                vps.up(server, args.bare)
            case "down":
                vps.down(server)
            case "snapshot":
                snapshots.take(server, args.name)
            case "reset":
                snapshots.reset(server, args.name)
            case "drop-snapshots":
                snapshots.drop(server, args.prefix)
    return 0


def main() -> int:
    args = parser().parse_args()
    if args.command in SHARED:
        on_machine(args)
        return 0
    return on_server(instance(args.instance), args)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except DemoError as error:
        sys.exit(fail(error))
    except KeyboardInterrupt:
        sys.exit(130)
