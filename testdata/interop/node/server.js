'use strict';

// node server.js serves the demo service. It prints its address, and then the method
// of each call that its client cancels.

const grpc = require('@grpc/grpc-js');
const { Hub, ResourceInfo, Status, options } = require('./hub');

const keys = new Map();

const now = () => ({ seconds: Math.floor(Date.now() / 1000), nanos: 0 });

const milliseconds = (duration) => Number(duration?.seconds ?? 0) * 1000 + (duration?.nanos ?? 0) / 1e6;

// keyError returns an error with google.rpc.ResourceInfo as its detail.
function keyError(code, name, details) {
  const metadata = new grpc.Metadata();
  const value = ResourceInfo.serialize({ resource_type: 'key', resource_name: name });
  const status = { code, message: details, details: [{ type_url: 'type.googleapis.com/google.rpc.ResourceInfo', value }] };
  metadata.set('grpc-status-details-bin', Status.serialize(status));
  return { code, details, metadata };
}

const implementation = {
  CreateKey(call, callback) {
    const { name } = call.request;
    if (keys.has(name)) return callback(keyError(grpc.status.ALREADY_EXISTS, name, `key "${name}" already exists`));
    const key = { name, create_time: now() };
    keys.set(name, key);
    callback(null, { ...key, secret: '0123456789abcdef'.repeat(2) });
  },

  DeleteKey(call, callback) {
    const { name } = call.request;
    if (!keys.delete(name)) return callback(keyError(grpc.status.NOT_FOUND, name, `key "${name}" does not exist`));
    callback(null, {});
  },

  GetTemplates(_, callback) {
    callback(null, { templates: [{ name: 'one', body: 'two' }] });
  },

  WatchKeys(call) {
    const { max_events, tick } = call.request;
    call.write({ snapshot: { keys: [...keys.values()] } });
    let sent = 0;
    let finished = false;
    const ticking = tick && setInterval(() => {
      call.write({ tick: now() });
      if (++sent === max_events) {
        clearInterval(ticking);
        finished = true;
        call.end();
      }
    }, milliseconds(tick));
    call.on('cancelled', () => {
      clearInterval(ticking);
      if (!finished) console.log('given up: WatchKeys'); // this event follows a regular end, too
    });
  },

  Echo(call) {
    const header = new grpc.Metadata();
    for (const name of ['x-echo', 'x-echo-bin']) {
      for (const value of call.metadata.get(name)) header.add(name, value);
    }
    call.sendMetadata(header);
    let count = 0;
    call.on('data', ({ text, end }) => {
      call.write({ text, count: ++count });
      if (end) call.end(header);
    });
    call.on('end', () => call.end(header));
  },

  Sum(call, callback) {
    let sum = 0n;
    let count = 0;
    call.on('data', ({ value }) => {
      sum += BigInt(value);
      count++;
    });
    call.on('end', () => callback(null, { sum: sum.toString(), count }));
  },

  Sleep(call, callback) {
    const sleeping = setTimeout(() => callback(null, {}), milliseconds(call.request.duration));
    call.on('cancelled', () => {
      clearTimeout(sleeping);
      console.log('given up: Sleep');
    });
  },
};

const server = new grpc.Server(options);
server.addService(Hub.service, implementation);
server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (err, port) => {
  if (err) throw err;
  console.log(`127.0.0.1:${port}`);
});
