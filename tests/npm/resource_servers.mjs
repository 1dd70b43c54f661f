// Resource servers of other people's making, each as its documentation has it, on ports of loopback.
//
//     node resource_servers.mjs ISSUER AUDIENCE JWKS_URI
//
// It prints the port of each server by its name in one line of JSON. A server answers a good access token with
// 200 and the token's `sub`, and others as it likes.

import { createServer } from "node:http";

import express from "express";
import { expressjwt } from "express-jwt";
import Fastify from "fastify";
import fastifyJwtJwks from "fastify-jwt-jwks";
import { createRemoteJWKSet, jwtVerify } from "jose";
import jwksRsa from "jwks-rsa";

const [issuer, audience, jwksUri] = process.argv.slice(2);
const algorithms = ["ES256", "EdDSA", "RS256"];
const loopback = { host: "127.0.0.1", port: 0 };

async function jose() {
  const keys = createRemoteJWKSet(new URL(jwksUri));
  const requiredClaims = ["exp", "sub", "client_id", "iat", "jti"];
  const server = createServer(async (request, response) => {
    const token = request.headers.authorization?.replace(/^Bearer /, "") ?? "";
    try {
      const rules = { issuer, audience, algorithms, typ: "at+jwt", requiredClaims };
      const { payload } = await jwtVerify(token, keys, rules);
      response.end(payload.sub);
    } catch (problem) {
      response.writeHead(401).end(String(problem));
    }
  });
  await new Promise((done) => server.listen(loopback, done));
  return server.address().port;
}

async function fastify() {
  const server = Fastify();
  await server.register(fastifyJwtJwks, { jwksUrl: jwksUri, audience, issuer });
  server.get("/", { preValidation: server.authenticate }, (request) => request.user.sub);
  await server.listen(loopback);
  return server.server.address().port;
}

async function expressJwt() {
  const app = express();
  const secret = jwksRsa.expressJwtSecret({ jwksUri, cache: true });
  app.use(expressjwt({ secret, issuer, audience, algorithms }));
  app.get("/", (request, response) => response.send(request.auth.sub));
  app.use((problem, request, response, next) => response.status(401).send(String(problem)));
  const server = createServer(app);
  await new Promise((done) => server.listen(loopback, done));
  return server.address().port;
}

const ports = { jose: await jose(), "fastify-jwt-jwks": await fastify(), "express-jwt": await expressJwt() };
console.log(JSON.stringify(ports));
