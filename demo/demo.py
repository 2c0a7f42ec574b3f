#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
import sys
from driver import build, releases, registries, vps, settings
build.build_all(); releases.build_all(); registries.start(); registries.fill()
vps.up(settings.instance("demo"), None)
