// The OAuth client openid-client, which learns of the endpoints from the metadata of the issuer SAIL_BASE_URL.

import process from "node:process";

import * as client from "openid-client";

const { SAIL_BASE_URL: issuer, SAIL_CLIENT_ID: id, SAIL_CLIENT_SECRET: secret } = process.env;
const overHttp = { execute: [client.allowInsecureRequests] };
const server = await client.discovery(new URL(issuer), id, secret, undefined, overHttp);
const access = await client.clientCredentialsGrant(server, { scope: "reports:read" });
const found = await client.tokenIntrospection(server, access.access_token);
await client.tokenRevocation(server, access.access_token);
const after = await client.tokenIntrospection(server, access.access_token);
const refused = await client.clientCredentialsGrant(server, { scope: "more" }).catch((problem) => problem);

console.log(
  JSON.stringify({
    type: access.token_type,
    scope: access.scope,
    active: found.active,
    subject: found.sub,
    after: after.active,
    refused: refused.error,
  }),
);
