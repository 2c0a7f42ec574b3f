// SPDX-License-Identifier: GPL-3.0-or-later
// For the container's healthcheck: node is what every image of node has.
const answer = await fetch(`http://127.0.0.1:${process.env.PORT ?? 3000}/api/v1/health`, { signal: AbortSignal.timeout(2500) }).catch((error) => ({ ok: false, status: error.message }));
if (!answer.ok) console.error(`health: ${answer.status}`);
process.exit(answer.ok ? 0 : 1);
