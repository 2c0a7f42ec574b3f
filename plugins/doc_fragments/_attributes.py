# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every module says about itself. Private to this collection."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description:
      - Can run in C(check_mode) and return the status it would have without changing the
        server.
  diff_mode:
    description:
      - Returns details on what has changed (or would change in C(check_mode)), when in diff
        mode.
  idempotent:
    description:
      - When run twice in a row outside check mode, with the same arguments, the second call
        does nothing.
  action_group:
    description:
      - Use C(group/carrental.ops.ops) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - carrental.ops.ops
"""

    # A module that only looks.
    READ_ONLY = r"""
options: {}
attributes:
  check_mode:
    support: full
    details:
      - The module changes nothing of the stack.
  diff_mode:
    support: N/A
    details:
      - The module changes nothing of the stack.
  idempotent:
    support: full
    details:
      - The module changes nothing of the stack; what it returns depends on the moment.
"""
