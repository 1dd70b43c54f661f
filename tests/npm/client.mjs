// The vendor's own client over each transport, and what a call comes to. The token is on standard input.
import { readFileSync } from "node:fs";
import { ConnectError } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { timestampDate } from "@zitadel/client";
import { createServerTransport } from "@zitadel/client/node";
import { createManagementServiceClient } from "@zitadel/client/v1";
import { createUserServiceClient } from "@zitadel/client/v2";
import { createClientTransport } from "@zitadel/client/web";
import { ErrorDetailSchema } from "@zitadel/proto/zitadel/message_pb.js";

const [kind, baseUrl] = process.argv.slice(2);
const token = readFileSync(0, "utf8").trim();

const bearer = (next) => (request) => {
  request.header.set("Authorization", `Bearer ${token}`);
  return next(request);
};
const connect = (useBinaryFormat) =>
  createConnectTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat, interceptors: [bearer] });
const transports = {
  grpc: () => createServerTransport(token, { baseUrl }),
  "grpc-web": () => createClientTransport(token, { baseUrl }),
  "connect proto": () => connect(true),
  "connect json": () => connect(false),
};
const transport = transports[kind]();
export const v1 = createManagementServiceClient(transport);
export const v2 = createUserServiceClient(transport);

const plain = (_, value) =>
  typeof value === "bigint" ? `${value}` : value?.seconds === undefined ? value : timestampDate(value).toISOString();

// Print what a call came to, as one line, and return its answer.
export async function call(method, request) {
  try {
    const done = await method(request);
    console.log(JSON.stringify({ code: 0, ...done }, plain));
    return done;
  } catch (error) {
    const refused = ConnectError.from(error);
    const details = refused.findDetails(ErrorDetailSchema).map(({ id, message }) => ({ id, message }));
    const waits = refused.metadata.get("retry-after");
    console.log(JSON.stringify({ code: refused.code, message: refused.rawMessage, details, waits }, plain));
  }
}
