// SPDX-License-Identifier: GPL-3.0-or-later
// The releases of the sample backend. One code base plays all of them, so that
// their images share every layer but the last; RELEASE says which one runs.

const V1 = ['20260102090000_init', '20260102090100_seed'];
const V2 = [...V1, '20260301090000_booking_note'];
const V3 = [...V2, '20260401090000_customer_full_name'];

const v1 = { migrations: V1, customerName: 'name', notes: false };
const v2 = { migrations: V2, customerName: 'name', notes: true };
const v3 = { migrations: V3, customerName: 'full_name', notes: true };
const broken = (fault) => ({ ...v2, fault });

export const RELEASES = {
  v1,
  v2,
  v3,
  exits: broken('exits'),
  unhealthy: broken('unhealthy'),
  hangs: broken('hangs'),
  slow: broken('slow'),
  'fails-later': broken('fails-later'),
  leaks: broken('leaks'),
  'bad-migration': { ...v2, migrations: [...V2, '20260315090000_broken'] },
  'ignores-sigterm': broken('ignores-sigterm'),
};

export function release(name) {
  const found = RELEASES[name];
  if (!found) throw new Error(`RELEASE is '${name}'; known: ${Object.keys(RELEASES).join(', ')}`);
  return { name, ...found };
}
