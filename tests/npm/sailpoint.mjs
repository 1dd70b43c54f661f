// The vendor's own SDK for TypeScript and JavaScript. SAIL_BASE_URL, SAIL_CLIENT_ID and SAIL_CLIENT_SECRET say
// where and who, as its documentation has it. It prints what each of its versions was answered as JSON.

import sdk from "sailpoint-api-client";

const { Configuration, PersonalAccessTokensApi, PersonalAccessTokensBetaApi, PersonalAccessTokensV2024Api } = sdk;

const configuration = new Configuration();
const versions = {
  v3: [PersonalAccessTokensApi, "createPersonalAccessTokenRequest", "jsonPatchOperation"],
  beta: [PersonalAccessTokensBetaApi, "createPersonalAccessTokenRequestBeta", "jsonPatchOperationBeta"],
  v2024: [PersonalAccessTokensV2024Api, "createPersonalAccessTokenRequestV2024", "jsonPatchOperationV2024"],
};
const told = {};
for (const [version, [Api, creation, change]] of Object.entries(versions)) {
  const api = new Api(configuration);
  const made = await api.createPersonalAccessToken({
    [creation]: { name: version, scope: ["reports:read"], accessTokenValiditySeconds: 600 },
  });
  const { id } = made.data;
  const operations = [{ op: "replace", path: "/name", value: `${version} renamed` }];
  const patched = await api.patchPersonalAccessToken({ id, [change]: operations });
  const listed = await api.listPersonalAccessTokens({ ownerId: "me", filters: "lastUsed isnull" });
  const removed = await api.deletePersonalAccessToken({ id });
  const missing = await api.deletePersonalAccessToken({ id }).catch((problem) => problem.response);
  told[version] = {
    secret: made.data.secret,
    seconds: made.data.accessTokenValiditySeconds,
    renamed: patched.data.name,
    listed: listed.data.some((pat) => pat.id === id),
    removed: removed.status,
    missing: missing.data.detailCode,
  };
}
console.log(JSON.stringify(told));
