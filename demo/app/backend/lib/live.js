// SPDX-License-Identifier: GPL-3.0-or-later
// A websocket that says every second which release it belongs to. It never ends
// by itself: what a switch has to cut, and a browser opens again.
import { WebSocketServer } from 'ws';

const EVERY_MS = 1000;

export function serveLive(server, config) {
  const sockets = new WebSocketServer({ server, path: '/api/v1/live' });
  sockets.on('connection', (socket) => {
    const say = () => socket.send(JSON.stringify({ release: config.release.name, version: config.version }));
    say();
    const timer = setInterval(say, EVERY_MS);
    socket.on('close', () => clearInterval(timer));
  });
  return () => {
    for (const socket of sockets.clients) socket.close(1001, 'the server ends');
  };
}
