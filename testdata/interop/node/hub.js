'use strict';

// The demo service and google.rpc's error details, for client.js and server.js.

const path = require('node:path');
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

const proto = path.join(__dirname, '../../../commands/demo/hub.proto');
const definition = protoLoader.loadSync(proto, { keepCase: true, longs: String, oneofs: true, defaults: true });
const { Hub } = grpc.loadPackageDefinition(definition).wstun.demo.v1;

const rpc = protoLoader.loadSync(path.join(__dirname, 'rpc.proto'), { keepCase: true, defaults: true });

exports.Hub = Hub;
exports.Status = rpc['google.rpc.Status'];
exports.ResourceInfo = rpc['google.rpc.ResourceInfo'];

// The limit of both ends, above the 20 MiB that the tests send.
exports.options = {
  'grpc.max_receive_message_length': 64 << 20,
  'grpc.max_send_message_length': 64 << 20,
};
