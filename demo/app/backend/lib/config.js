// SPDX-License-Identifier: GPL-3.0-or-later
// Everything comes from the environment; a missing name stops the start with
// one sentence that lists all of them.
import { release } from './releases.js';

const REQUIRED = ['DATABASE_URL', 'REDIS_URL', 'MINIO_ENDPOINT', 'MINIO_ACCESS_KEY', 'MINIO_SECRET_KEY', 'MINIO_BUCKET', 'JWT_SECRET'];

export function readConfig(env = process.env) {
  const missing = REQUIRED.filter((name) => !env[name]);
  if (missing.length) throw new Error(`these environment variables are not set: ${missing.join(', ')}`);
  const database = new URL(env.DATABASE_URL);
  return {
    port: Number(env.PORT ?? 3000),
    release: release(env.RELEASE ?? 'v2'),
    version: env.VERSION ?? 'unknown',
    databaseUrl: env.DATABASE_URL,
    // Prisma's name for the size of the pool.
    poolSize: Number(database.searchParams.get('connection_limit') ?? 10),
    redisUrl: env.REDIS_URL,
    storage: {
      endpoint: env.MINIO_ENDPOINT.replace(/\/$/, ''),
      accessKeyId: env.MINIO_ACCESS_KEY,
      secretAccessKey: env.MINIO_SECRET_KEY,
      bucket: env.MINIO_BUCKET,
    },
  };
}
