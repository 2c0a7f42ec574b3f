# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of modules that change production under the lock. Private to this collection."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  state_dir:
    description:
      - Directory of what operations remember, with the lock and the journals.
      - With it the module works under the lock of the server, and every step is a line of a
        journal. Without it nothing is locked.
    type: path
  operation_id:
    description:
      - The operation that this call is a part of, as M(carrental.ops.operation) returned it. The
        module fails before it changes anything when that operation does not have the lock any more.
      - With O(state_dir) and without it the call is an operation of its own, which is refused while
        another one has the lock.
    type: str
    default: ""
"""

    # A module that only looks, for as long as others could take its operation for dead.
    READ_ONLY = r"""
options:
  state_dir:
    description: Directory of what operations remember. It is used with O(operation_id) alone.
    type: path
  operation_id:
    description:
      - The operation that this call is a part of, as M(carrental.ops.operation) returned it. It is
        kept alive meanwhile, and the module fails when it does not have the lock any more.
    type: str
    default: ""
"""
