'use strict';

// node ws.js serves WebSockets that echo messages, and prints its address. node ws.js URL
// sends messages to such a server, compares what it receives, and closes with a status code.

const { WebSocket, WebSocketServer } = require('ws');

const deflate = { threshold: 0 }; // compress short messages, too

function serve() {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: deflate });
  server.on('listening', () => console.log(`ws://127.0.0.1:${server.address().port}/`));
  server.on('connection', (ws) => {
    ws.on('message', (data, isBinary) => ws.send(data, { binary: isBinary }));
    ws.on('close', (code, reason) => console.log(`closed ${code} ${reason}`));
  });
}

function call(url) {
  const messages = ['text', 'ü'.repeat(10000), Buffer.alloc(200000, 'binary'), ''];
  const ws = new WebSocket(url, { perMessageDeflate: deflate });
  ws.on('error', (err) => console.log(`error ${err.message}`));
  ws.on('open', () => {
    console.log(`extensions ${ws.extensions || 'none'}`);
    messages.forEach((m) => ws.send(m));
  });
  let received = 0;
  ws.on('message', (data, isBinary) => {
    const want = messages[received++];
    if (isBinary !== Buffer.isBuffer(want) || !data.equals(Buffer.from(want))) console.log(`message ${received} differs`);
    if (received === messages.length) ws.close(4001, 'done');
  });
  ws.on('close', (code) => console.log(`closed ${code} after ${received}`));
}

if (process.argv[2]) call(process.argv[2]);
else serve();
