// Calls with bodies as they are, over HTTP/2: node frames.mjs URL METHOD < {"token", "kind", "bodies": [base64]}
// Each line that it prints is the status of HTTP, and the code and message of gRPC.
import { readFileSync } from "node:fs";
import http2 from "node:http2";

const [url, path] = process.argv.slice(2);
const { token, kind, bodies } = JSON.parse(readFileSync(0, "utf8"));

function call(body) {
  return new Promise((resolve) => {
    const session = http2.connect(url);
    const found = {};
    const note = (fields) => Object.assign(found, fields);
    const over = (problem) => {
      session.destroy();
      resolve({ http: found[":status"], code: found["grpc-status"], message: found["grpc-message"], problem });
    };
    session.on("error", (error) => over(error.code));
    const request = session.request({
      ":method": "POST",
      ":path": path,
      "content-type": kind,
      te: "trailers",
      authorization: `Bearer ${token}`,
    });
    request.on("response", note).on("trailers", note);
    request.on("error", (error) => over(error.code)).on("close", () => over());
    request.resume();
    request.end(Buffer.from(body, "base64"));
  });
}

for (const body of bodies) {
  console.log(JSON.stringify(await call(body)));
}
