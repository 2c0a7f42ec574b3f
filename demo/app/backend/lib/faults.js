// SPDX-License-Identifier: GPL-3.0-or-later
// The ways in which the broken releases break; health.js and routes.js ask for
// theirs, these three belong to the process.
import { log } from './log.js';

export const SLOW_START_MS = 20_000;
export const FAILS_AFTER_S = 20;

export function exitAtStart() {
  log('error', 'Error: this release cannot start');
  process.exit(1);
}

// Buffers live outside the V8 heap: the kernel's limit ends this, not node's. As slow
// as this, the switch is over and customers are there before the limit is reached.
export function leak() {
  const kept = [];
  setInterval(() => kept.push(Buffer.alloc(2 * 1024 * 1024, 1)), 500);
}

export const bookingsFail = (fault) => fault === 'fails-later' && process.uptime() > FAILS_AFTER_S;
