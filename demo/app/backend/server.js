// SPDX-License-Identifier: GPL-3.0-or-later
import http from 'node:http';
import pg from 'pg';
import { openCache } from './lib/cache.js';
import { readConfig } from './lib/config.js';
import { SLOW_START_MS, exitAtStart, leak } from './lib/faults.js';
import { HttpError, json } from './lib/http.js';
import { serveLive } from './lib/live.js';
import { log } from './lib/log.js';
import { durations, requests } from './lib/metrics.js';
import { routes } from './lib/routes.js';
import { openStorage } from './lib/storage.js';

const STOP_DEADLINE_MS = 25_000;
const QUIET = new Set(['/api/v1/health', '/api/v1/metrics']);

const config = readConfig();
const { fault } = config.release;
if (fault === 'exits') exitAtStart();
if (fault === 'leaks') leak();

const pool = new pg.Pool({ connectionString: config.databaseUrl, max: config.poolSize, connectionTimeoutMillis: 2000 });
// An idle connection that the server cuts is replaced, no reason to end.
pool.on('error', (error) => log('warn', 'database connection lost', { error: error.message }));
const cache = openCache(config.redisUrl);
const storage = openStorage(config.storage);
storage.ensureBucket();
const table = routes({ config, pool, cache, storage });

async function answer(request, response) {
  const { pathname } = new URL(request.url, 'http://internal');
  const matching = table.filter(({ pattern }) => pattern.test(pathname));
  const route = matching.find(({ method }) => method === request.method);
  const endpoint = matching[0]?.endpoint ?? 'unknown';
  const start = performance.now();
  response.setHeader('X-Release', config.release.name);
  response.once('finish', () => {
    const seconds = (performance.now() - start) / 1000;
    const { statusCode: status } = response;
    requests.inc({ method: request.method, endpoint, status });
    durations.observe({ method: request.method, endpoint }, seconds);
    if (status >= 400 || !QUIET.has(pathname)) {
      log(status >= 500 ? 'error' : 'info', 'request', { method: request.method, path: pathname, status, ms: Math.round(seconds * 1000) });
    }
  });
  try {
    if (!matching.length) throw new HttpError(404, `nothing is at ${pathname}`);
    if (!route) throw new HttpError(405, `${request.method} is not allowed at ${pathname}`);
    await route.handler(request, response, pathname.match(route.pattern).groups ?? {});
  } catch (error) {
    if (!(error instanceof HttpError)) log('error', `Error: ${error.message}`, { path: pathname });
    if (!response.headersSent) json(response, error.status ?? 500, { error: error.status ? error.message : 'internal error' });
    else response.destroy();
  }
}

const server = http.createServer(fault === 'hangs' ? () => {} : answer);
// Longer than any proxy keeps its idle connections, so that the proxy closes first.
server.keepAliveTimeout = 75_000;
const endLive = serveLive(server, config);
const listen = () => server.listen(config.port, () => log('info', 'listening', { port: config.port, release: config.release.name, version: config.version }));
if (fault === 'slow') setTimeout(listen, SLOW_START_MS);
else listen();

function stop() {
  if (fault === 'ignores-sigterm') return log('info', 'SIGTERM ignored');
  log('info', 'stopping');
  setTimeout(() => process.exit(1), STOP_DEADLINE_MS).unref();
  server.close(async () => {
    cache.close();
    await pool.end();
    process.exit(0);
  });
  endLive();
  server.closeIdleConnections();
  // A server that does not listen yet never closes.
  if (!server.listening) process.exit(0);
}
process.on('SIGTERM', stop);
process.on('SIGINT', stop);
