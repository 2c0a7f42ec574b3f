// SPDX-License-Identifier: GPL-3.0-or-later
// Run once while the image is built: leaves the migrations that belong to the
// release in prisma/migrations, as a checkout of that release would have them.
import { cpSync, mkdirSync, rmSync } from 'node:fs';
import { release } from '../lib/releases.js';

const { migrations } = release(process.argv[2]);
rmSync('prisma/migrations', { recursive: true, force: true });
mkdirSync('prisma/migrations');
cpSync('prisma/all/migration_lock.toml', 'prisma/migrations/migration_lock.toml');
for (const name of migrations) cpSync(`prisma/all/${name}`, `prisma/migrations/${name}`, { recursive: true });
