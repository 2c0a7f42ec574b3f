# SPDX-License-Identifier: GPL-3.0-or-later
"""The driver of the demo: builds images, runs registries and virtual servers."""
