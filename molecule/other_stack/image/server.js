// SPDX-License-Identifier: GPL-3.0-or-later
// The shop: a store on two ports, or a worker. It stops at once on SIGTERM, and says
// nothing about its health.
const http = require('node:http');
const { hostname } = require('node:os');

const { VERSION, BROKEN } = process.env;
process.on('SIGTERM', () => process.exit(0));
if (process.argv[2] === 'worker') {
  setInterval(() => {}, 1000);
} else {
  const answer = (port) => (request, response) => {
    if (BROKEN) request.socket.destroy();
    else setTimeout(() => {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ version: VERSION, host: hostname(), port }));
    }, 20);
  };
  for (const port of [8000, 8001]) http.createServer(answer(port)).listen(port);
}
