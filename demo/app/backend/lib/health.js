// SPDX-License-Identifier: GPL-3.0-or-later
// What GET /api/v1/health says. The database decides over 200 or 503; without
// cache or object store the service goes on, degraded.
import { within } from './deadline.js';

const DEADLINE_MS = 1000;

async function probe(work) {
  const start = performance.now();
  const latency = () => Math.round(performance.now() - start);
  try {
    await within(DEADLINE_MS, work());
    return { status: 'up', latency_ms: latency() };
  } catch (error) {
    return { status: 'down', latency_ms: latency(), error: error.message || error.code || String(error) };
  }
}

export async function health({ config, pool, cache, storage }) {
  const [database, redis, objects] = await Promise.all([
    probe(() => pool.query('SELECT 1')),
    probe(() => cache.ping()),
    probe(() => storage.check()),
  ]);
  const dependencies = { database, cache: redis, storage: objects };
  const failing = config.release.fault === 'unhealthy' || database.status === 'down';
  const degraded = [redis, objects].some(({ status }) => status === 'down');
  return {
    httpStatus: failing ? 503 : 200,
    body: {
      status: failing ? 'error' : degraded ? 'degraded' : 'ok',
      version: config.version,
      release: config.release.name,
      uptime_s: Math.round(process.uptime()),
      dependencies,
    },
  };
}
