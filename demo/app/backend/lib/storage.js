// SPDX-License-Identifier: GPL-3.0-or-later
// Car photos in an S3 bucket.
import { AwsClient } from 'aws4fetch';
import { log } from './log.js';

export function openStorage({ endpoint, accessKeyId, secretAccessKey, bucket }) {
  // No retries of its own: whoever calls sets the deadline.
  const client = new AwsClient({ accessKeyId, secretAccessKey, service: 's3', region: 'us-east-1', retries: 0 });
  const call = (path, options = {}) =>
    client.fetch(`${endpoint}/${bucket}${path}`, { signal: AbortSignal.timeout(5000), ...options });

  // Made once when the process starts, and only then: a bucket that goes away
  // later is a fault, and must stay visible as one.
  async function ensureBucket() {
    for (let attempt = 1; ; attempt += 1) {
      try {
        const found = await call('', { method: 'HEAD' });
        if (found.ok) return;
        if (found.status === 404) {
          const made = await call('', { method: 'PUT' });
          if (made.ok) return log('info', 'bucket created', { bucket });
        }
        throw new Error(`the object store answered ${found.status}`);
      } catch (error) {
        if (attempt === 1) log('warn', 'bucket not ready, trying again', { bucket, error: error.message });
        await new Promise((resolve) => setTimeout(resolve, 1000).unref());
      }
    }
  }

  return {
    ensureBucket,
    async check() {
      const answer = await call('', { method: 'HEAD', signal: AbortSignal.timeout(1000) });
      if (answer.status === 404) throw new Error(`bucket ${bucket} does not exist`);
      if (!answer.ok) throw new Error(`bucket ${bucket} answered ${answer.status}`);
    },
    put: (key, body, type) => call(`/${key}`, { method: 'PUT', body, headers: { 'content-type': type } }),
    get: (key) => call(`/${key}`),
  };
}
