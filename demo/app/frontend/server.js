// SPDX-License-Identifier: GPL-3.0-or-later
// Stands in for the Next.js front end: one page at /, no call to anything else.
const http = require('node:http');

const { PORT = '3000', RELEASE = 'unknown', VERSION = 'unknown' } = process.env;
const page = `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Car Rental</title></head>
<body><h1>Car Rental</h1><p>Release <code>${RELEASE}</code>, version <code>${VERSION}</code></p></body>
</html>
`;

const server = http.createServer((request, response) => {
  const found = request.url.split('?')[0] === '/';
  response.writeHead(found ? 200 : 404, { 'content-type': 'text/html; charset=utf-8', 'X-Release': RELEASE });
  response.end(found ? page : 'not found\n');
});
server.keepAliveTimeout = 75_000;
server.listen(Number(PORT));
process.on('SIGTERM', () => {
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
