// A call with credentials that are refused: node refused.mjs TRANSPORT URL < token
import { call, v2 } from "./client.mjs";

await call(v2.addPersonalAccessToken, { userId: "alice" });
