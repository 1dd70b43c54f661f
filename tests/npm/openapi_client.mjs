// A client by openapi-fetch, with the types that openapi-typescript has made of the service's own description:
//
//     node openapi_client.mjs URL PAT_TOKEN
//
// tsc checks it before. It prints what it was answered as JSON.

/** @import { paths } from "openapi" */

import process from "node:process";

import createClient from "openapi-fetch";

const [baseUrl, token] = process.argv.slice(2);
const headers = { Authorization: `Bearer ${token}` };
/** @type {ReturnType<typeof createClient<paths>>} */
const client = createClient({ baseUrl, headers });

const made = await client.POST("/personal-access-tokens/v1", {
  body: { name: "typed", scope: ["reports:read"], userAwareTokenNeverExpires: true },
});
const id = made.data?.id ?? "";
const one = { params: { path: { id } } };
/** @type {paths["/personal-access-tokens/v1/{id}"]["patch"]["requestBody"]["content"]["application/json-patch+json"]} */
const body = [{ op: "replace", path: "/name", value: "renamed" }];
const patch = { ...one, body, headers: { "Content-Type": "application/json-patch+json" } };

const patched = await client.PATCH("/personal-access-tokens/v1/{id}", patch);
const listed = await client.GET("/personal-access-tokens/v1", {
  params: { query: { "owner-id": "me", filters: 'name eq "renamed"' } },
});
const found = await client.POST("/v2/users/pats/search", {
  body: { filters: [{ tokenIdFilter: { id } }] },
});
const removed = await client.DELETE("/personal-access-tokens/v1/{id}", one);
const missing = await client.PATCH("/personal-access-tokens/v1/{id}", patch);
// @ts-expect-error a creation needs a name, and the types say so
const refused = await client.POST("/personal-access-tokens/v1", { body: { scope: ["reports:read"] } });

console.log(
  JSON.stringify({
    secret: made.data?.secret,
    renamed: patched.data?.name,
    listed: listed.data?.map((pat) => pat.id === id),
    found: found.data?.result?.map((pat) => pat.userId),
    removed: removed.response.status,
    missing: missing.error && "detailCode" in missing.error && missing.error.detailCode,
    refused: refused.response.status,
  }),
);
