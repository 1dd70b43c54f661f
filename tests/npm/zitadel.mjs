// One client's story: node zitadel.mjs TRANSPORT URL < token
import { timestampFromDate } from "@zitadel/client";
import { PersonalAccessTokenFieldName } from "@zitadel/proto/zitadel/user/v2/pat_pb.js";
import { call, v1, v2 } from "./client.mjs";

const userId = "alice";
const expirationDate = timestampFromDate(new Date("2099-06-01T00:00:00.120Z"));
const first = await call(v2.addPersonalAccessToken, { userId, expirationDate });
const second = await call(v1.addPersonalAccessToken, { userId });
await call(v2.listPersonalAccessTokens, {
  filters: [{ filter: { case: "userIdFilter", value: { id: userId } } }],
  pagination: { limit: 2, asc: false },
  sortingColumn: PersonalAccessTokenFieldName.CREATED_DATE,
});
await call(v1.listPersonalAccessTokens, { userId, query: { limit: 2 } });
await call(v1.getPersonalAccessTokenByIDs, { userId, tokenId: first.tokenId });
await call(v2.removePersonalAccessToken, { userId, tokenId: first.tokenId });
await call(v2.removePersonalAccessToken, { userId, tokenId: first.tokenId });
await call(v1.removePersonalAccessToken, { userId, tokenId: second.tokenId });
await call(v2.addPersonalAccessToken, { userId: "bob" });
await call(v2.addPersonalAccessToken, {});
await call(v2.getUserByID, { userId });
