'use strict';

// node status.js ADDR METHOD… calls each method with an empty message. For each it
// prints its name, and a tab and a JSON array: the code, the message, and the details
// that belong to the code.

const grpc = require('@grpc/grpc-js');
const { Status } = require('./hub');

const identity = (bytes) => bytes;

const call = (client, method) =>
  new Promise((resolve) => {
    const deadline = { deadline: Date.now() + 20_000 };
    client.makeUnaryRequest(`/odd.S/${method}`, identity, identity, Buffer.alloc(0), deadline, (err) => resolve(err));
  });

async function main([address, ...methods]) {
  const client = new grpc.Client(address, grpc.credentials.createInsecure());
  for (const method of methods) {
    const err = (await call(client, method)) || { code: grpc.status.OK, details: '' };
    const details = [];
    for (const bytes of err.metadata?.get('grpc-status-details-bin') ?? []) {
      const status = Status.deserialize(bytes);
      if (status.code === err.code) details.push(...status.details.map((d) => d.type_url));
    }
    console.log(`${method}\t${JSON.stringify([err.code, err.details, details])}`);
  }
  client.close();
}

main(process.argv.slice(2));
