// The nine operations on a web framework with its default body parsers: `node framework.js NAME`.
// $NODE_PATH has the framework. Prints the port. Answers repeat what the framework has read.
"use strict";

const KEY = { id: 1, created_at: "2030-01-02T03:04:05Z" };
const PAGE = { page: 1, limit: 100, total: 1, totalPages: 1 };

// Each handler takes {params, query, body} and returns [status, answer].
const OPERATIONS = [
  ["get", "/keys", ({ query }) => {
    return [200, { keys: [{ ...KEY, key_value: query.key }], pagination: PAGE }];
  }],
  ["post", "/keys", ({ body }) => [201, { key: { ...KEY, ...body, key_value: "JNK" } }]],
  ["post", "/keys/batch", ({ body: { amount, key_name } }) => {
    return [201, { keys: Array.from({ length: amount }, (_, at) => key_name + at), count: amount }];
  }],
  ["post", "/keys/bulk-delete", ({ body }) => [200, { deleted: body.keys.length }]],
  ["get", "/keys/folders", () => [200, { folders: [{ id: 1, name: "folder" }] }]],
  ["get", "/keys/:key", ({ params }) => [200, { key: { ...KEY, key_value: params.key } }]],
  ["put", "/keys/:key", ({ body }) => [200, { success: true, message: body.key_name }]],
  ["delete", "/keys/:key", () => [200, null]],
  ["post", "/keys/:key/reset-hwid", ({ params, body }) => {
    if (body !== undefined && body !== null) throw new Error("there is a body");
    return [200, { success: true, message: params.key }];
  }],
];

function makeFastify() {
  const app = require("fastify")();
  for (const [method, path, answer] of OPERATIONS) {
    app[method](path, (request, reply) => {
      const [status, value] = answer(request);
      reply.code(status).send(value === null ? undefined : value);
    });
  }
  return (listening) => app.listen({ host: "127.0.0.1", port: 0 }).then(() => listening(app.server));
}

function makeExpress() {
  const express = require("express");
  const app = express();
  app.use(express.json());
  for (const [method, path, answer] of OPERATIONS) {
    app[method](path, (request, response) => {
      const [status, value] = answer(request);
      response.status(status);
      value === null ? response.end() : response.json(value);
    });
  }
  return (listening) => {
    const server = app.listen(0, "127.0.0.1", () => listening(server));
  };
}

const listen = { fastify: makeFastify, express: makeExpress }[process.argv[2]]();
listen((server) => console.log(`listening on ${server.address().port}`));
