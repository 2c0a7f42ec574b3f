// SPDX-License-Identifier: GPL-3.0-or-later
import { PrismaPg } from '@prisma/adapter-pg';
import { defineConfig } from 'prisma/config';

// The adapter runs a migration statement by statement and cuts at each ';',
// also inside function bodies, and a failure leaves the first half applied.
// Sent whole, a migration is one implicit transaction: all of it or nothing.
class WholeScriptAdapter extends PrismaPg {
  async connect() {
    const connection: any = await super.connect();
    connection.executeScript = async (script: string) => {
      try {
        await connection.client.query(script);
      } catch (error) {
        connection.onError(error);
      }
    };
    return connection;
  }
}

// The engine guards its advisory lock with a timer of ten seconds and forgets
// it, so every migration would end ten seconds late. A timer that does not keep
// the process alive still fires while the connection waits for the lock.
const LOCK_TIMEOUT_MS = 10_000;
globalThis.setTimeout = new Proxy(globalThis.setTimeout, {
  apply(target, self, args) {
    const timer = Reflect.apply(target, self, args);
    if (args[1] === LOCK_TIMEOUT_MS) timer.unref();
    return timer;
  },
});

// The JavaScript engine: the native one would be downloaded at build time.
export default defineConfig({
  experimental: { adapter: true },
  engine: 'js',
  schema: 'prisma/schema.prisma',
  migrations: { path: 'prisma/migrations' },
  adapter: async () =>
    new WholeScriptAdapter({ connectionString: process.env.DATABASE_URL, idleTimeoutMillis: 200, allowExitOnIdle: true }),
});
