// Two calls that may be refused: node refused.mjs TRANSPORT URL < token
import { call, v1 } from "./client.mjs";

await call(v1.listPersonalAccessTokens, { userId: "few" });
await call(v1.listPersonalAccessTokens, { userId: "few" });
