'use strict';

// node client.js ADDR CASE… calls the demo service at ADDR. For each CASE it
// prints "ok CASE", or "failed CASE" and the reason.

const assert = require('node:assert/strict');
const { randomUUID } = require('node:crypto');
const grpc = require('@grpc/grpc-js');
const { Hub, ResourceInfo, Status, options } = require('./hub');

const callTimeout = 20_000; // ms
const big = 20 << 20;

// call makes a unary call and resolves to the response.
const call = (client, method, request, deadline = callTimeout) =>
  new Promise((resolve, reject) => {
    client[method](request, { deadline: Date.now() + deadline }, (err, response) => (err ? reject(err) : resolve(response)));
  });

// finalStatus resolves to the status of a call when it ends, OK or not.
const finalStatus = (stream) =>
  new Promise((resolve) => {
    stream.on('error', () => {}); // the status has the error, too
    stream.on('status', resolve);
  });

// echo starts an Echo call. The result's send resolves to the response.
function echo(client, metadata = new grpc.Metadata(), opts = {}) {
  const stream = client.Echo(metadata, { deadline: Date.now() + callTimeout, ...opts });
  const status = finalStatus(stream);
  const send = async (request) => {
    const response = new Promise((resolve) => stream.once('data', resolve));
    stream.write(request);
    const early = status.then((s) => assert.fail(`ended: ${s.code} ${s.details}`));
    return Promise.race([response, early]);
  };
  return { stream, status, send };
}

const cases = {
  async unary(client) {
    const name = randomUUID();
    const key = await call(client, 'CreateKey', { name });
    assert.equal(key.name, name);
    assert.match(key.secret, /^[0-9a-f]{32}$/);
    await call(client, 'DeleteKey', { name });
  },

  async details(client) {
    const name = `schlüssel ${randomUUID()}`;
    const err = await call(client, 'DeleteKey', { name }).then(() => assert.fail('no error'), (e) => e);
    assert.equal(err.code, grpc.status.NOT_FOUND);
    const [bytes] = err.metadata.get('grpc-status-details-bin');
    const status = Status.deserialize(bytes);
    assert.equal(status.code, err.code);
    assert.equal(status.message, err.details);
    assert.equal(status.details[0].type_url, 'type.googleapis.com/google.rpc.ResourceInfo');
    assert.equal(ResourceInfo.deserialize(status.details[0].value).resource_name, name);
  },

  async client_stream(client) {
    const response = await new Promise((resolve, reject) => {
      const stream = client.Sum({ deadline: Date.now() + callTimeout }, (err, r) => (err ? reject(err) : resolve(r)));
      for (let value = 1; value <= 1000; value++) stream.write({ value });
      stream.end();
    });
    assert.deepEqual(response, { sum: '500500', count: 1000 });
  },

  async server_stream(client) {
    const stream = client.WatchKeys({ max_events: 3, tick: { nanos: 10_000_000 } }, { deadline: Date.now() + callTimeout });
    const status = finalStatus(stream);
    const events = [];
    stream.on('data', (e) => events.push(e.event));
    assert.equal((await status).code, grpc.status.OK);
    assert.deepEqual(events, ['snapshot', 'tick', 'tick', 'tick']);
  },

  async bidi_stream(client) {
    const { stream, status, send } = echo(client);
    for (let count = 1; count <= 100; count++) {
      const text = `${count} ✓`;
      assert.deepEqual(await send({ text }), { text, count });
    }
    stream.end();
    assert.equal((await status).code, grpc.status.OK);
  },

  // The server ends a call while the client's side is still open.
  async early_end(client) {
    const { status, send } = echo(client);
    await send({ text: 'on' });
    await send({ text: 'off', end: true }).catch(() => {});
    assert.equal((await status).code, grpc.status.OK);
  },

  async large(client) {
    const { stream, status, send } = echo(client);
    const text = '0123456789abcdef'.repeat(big / 16);
    const response = await send({ text });
    assert.equal(response.text === text, true);
    stream.end();
    assert.equal((await status).code, grpc.status.OK);
  },

  async deadline(client) {
    const err = await call(client, 'Sleep', { duration: { seconds: 30 } }, 2000).then(() => assert.fail('no error'), (e) => e);
    // Both ends watch the deadline. If the server is first, it resets the stream,
    // which this client reports as CANCELLED.
    assert.ok([grpc.status.DEADLINE_EXCEEDED, grpc.status.CANCELLED].includes(err.code), `${err.code} ${err.details}`);
  },

  async cancel(client) {
    const stream = client.WatchKeys({}, { deadline: Date.now() + callTimeout });
    const status = finalStatus(stream);
    stream.once('data', () => stream.cancel());
    assert.equal((await status).code, grpc.status.CANCELLED);
  },

  async gzip(address) {
    const client = new Hub(address, grpc.credentials.createInsecure(), { ...options, 'grpc.default_compression_algorithm': 2 });
    const { stream, status, send } = echo(client);
    const text = 'small when compressed '.repeat(1000);
    assert.equal((await send({ text })).text, text);
    stream.end();
    assert.equal((await status).code, grpc.status.OK);
    client.close();
  },

  // The interop servers echo x-echo and x-echo-bin as headers and as trailers.
  async metadata(client) {
    const metadata = new grpc.Metadata();
    metadata.add('x-echo', 'one');
    metadata.add('x-echo', 'two');
    metadata.set('x-echo-bin', Buffer.from([0, 1, 254, 255]));
    const { stream, status, send } = echo(client, metadata);
    const header = new Promise((resolve) => stream.once('metadata', resolve));
    await send({ text: 'hello' });
    stream.end();
    for (const md of [await header, (await status).metadata]) {
      assert.equal(md.get('x-echo').join(', '), 'one, two');
      assert.deepEqual(md.get('x-echo-bin'), [Buffer.from([0, 1, 254, 255])]);
    }
  },
};

async function main([address, ...names]) {
  const client = new Hub(address, grpc.credentials.createInsecure(), options);
  for (const name of names) {
    try {
      await cases[name](name === 'gzip' ? address : client);
      console.log(`ok ${name}`);
    } catch (err) {
      console.log(`failed ${name}: ${err.message.replace(/\n\s*/g, ' ').slice(0, 300)}`);
    }
  }
  client.close();
}

main(process.argv.slice(2));
