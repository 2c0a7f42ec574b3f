// SPDX-License-Identifier: GPL-3.0-or-later
import client from 'prom-client';

client.collectDefaultMetrics();

export const requests = new client.Counter({
  name: 'api_requests_total',
  help: 'Requests answered.',
  labelNames: ['method', 'endpoint', 'status'],
});

export const durations = new client.Histogram({
  name: 'api_request_duration_seconds',
  help: 'Time until the answer was complete.',
  labelNames: ['method', 'endpoint'],
  buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
});

export const exposition = () => client.register.metrics();
export const { contentType } = client.register;
