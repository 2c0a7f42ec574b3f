// SPDX-License-Identifier: GPL-3.0-or-later
// Redis as an optional cache: every error is a miss, and ioredis reconnects by itself.
import Redis from 'ioredis';
import { log } from './log.js';

export function openCache(url) {
  const redis = new Redis(url, {
    // Without a connection fail at once instead of queueing requests up.
    enableOfflineQueue: false,
    maxRetriesPerRequest: 1,
    connectTimeout: 1000,
    commandTimeout: 500,
    retryStrategy: (attempt) => Math.min(attempt * 200, 2000),
  });
  let lastError = '';
  redis.on('ready', () => {
    lastError = '';
    log('info', 'cache connected');
  });
  redis.on('error', (error) => {
    // Once per cause: a reconnect loop must not fill the log.
    if (error.message !== lastError) log('warn', 'cache unavailable, going on without', { error: error.message });
    lastError = error.message;
  });

  return {
    async ping() {
      if (redis.status !== 'ready') throw new Error(lastError || `connection is ${redis.status}`);
      await redis.ping();
    },
    async remember(key, seconds, produce) {
      const kept = await redis.get(key).catch(() => undefined);
      if (kept) return { value: JSON.parse(kept), cache: 'hit' };
      const value = await produce();
      const stored = await redis.set(key, JSON.stringify(value), 'EX', seconds).catch(() => undefined);
      return { value, cache: stored ? 'miss' : 'off' };
    },
    close: () => redis.disconnect(),
  };
}
