import { createHash, randomBytes } from "node:crypto";
import { type ClientHttp2Session, connect, constants, type IncomingHttpHeaders } from "node:http2";
import t, { type Test } from "tap";
import { ownKeys } from "../../correctness/open-berth.ts";
import { openDistribution } from "./distribution.ts";
import { basic, openStand } from "./stand.ts";
import { DEV_KEY, SERVICE } from "./token-server.ts";

type RegistryReply = { status: number; headers: IncomingHttpHeaders; body: Buffer };
type RegistryCall = { method?: string; headers?: Record<string, string>; body?: readonly Buffer[] };

const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const digestOf = (bytes: Buffer | string) => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

function call(session: ClientHttp2Session, path: string, { method = "GET", headers = {}, body }: RegistryCall = {}): Promise<RegistryReply> {
  return new Promise((resolve, reject) => {
    const stream = session.request({ ":method": method, ":path": path, ...headers }, { endStream: body === undefined });
    const reply: RegistryReply = { status: 0, headers: {}, body: Buffer.alloc(0) };
    const pieces: Buffer[] = [];
    stream.once("response", (received) => Object.assign(reply, { status: Number(received[":status"]), headers: received }));
    stream.on("data", (piece: Buffer) => pieces.push(piece));
    stream.once("error", reject);
    stream.once("end", () => resolve({ ...reply, body: Buffer.concat(pieces) }));
    for (const piece of body ?? []) stream.write(piece);
    if (body !== undefined) stream.end();
  });
}

async function openSession(t: Test) {
  const protocols: string[] = [];
  const watchers = [({ protocol }: { protocol: string }) => void protocols.push(protocol)];
  const stand = await openStand(t, await openDistribution(t), { tls: ownKeys(t), http2: true, watchers });
  const session = connect(`https://${stand.host}`, { rejectUnauthorized: false });
  t.teardown(() => session.destroy());
  const token = async (scope: string) => {
    const query = new URLSearchParams({ service: SERVICE, scope });
    const { body } = await call(session, `/token?${query.toString()}`, { headers: { authorization: basic(DEV_KEY) } });
    return `Bearer ${(JSON.parse(body.toString()) as { token: string }).token}`;
  };
  return { stand, session, token, protocols };
}

/** As docker does it: begin, send in pieces, finish. Returns the path of the blob. */
async function pushBlob(t: Test, session: ClientHttp2Session, authorization: string, blob: Buffer): Promise<string> {
  const begun = await call(session, "/v2/datagrok/a/blobs/uploads/", { method: "POST", headers: { authorization, "content-length": "0" } });
  t.equal(begun.status, 202);
  const upload = new URL(begun.headers.location ?? "");
  t.equal(upload.protocol, "https:");
  const half = blob.length / 2;
  const sent = await call(session, upload.pathname + upload.search, {
    method: "PATCH",
    headers: { authorization, "content-type": "application/octet-stream" },
    body: [blob.subarray(0, half), blob.subarray(half)],
  });
  t.equal(sent.status, 202);
  const last = new URL(sent.headers.location ?? "");
  last.searchParams.set("digest", digestOf(blob));
  const put = await call(session, last.pathname + last.search, { method: "PUT", headers: { authorization, "content-length": "0" } });
  t.equal(put.status, 201);
  const { pathname } = new URL(put.headers.location ?? "");
  t.equal(pathname, `/v2/datagrok/a/blobs/${digestOf(blob)}`);
  return pathname;
}

t.test("an image is pushed and pulled over HTTP/2", async (t) => {
  const { stand, session, token, protocols } = await openSession(t);
  const challenged = await call(session, "/v2/");
  t.equal(challenged.status, 401);
  t.equal(challenged.headers["www-authenticate"], `Bearer realm="https://${stand.host}/token",service="${SERVICE}"`);
  const authorization = await token("repository:datagrok/a:pull,push");
  const blob = randomBytes(3_000_000);
  const path = await pushBlob(t, session, authorization, blob);

  const described = { mediaType: "application/octet-stream", size: blob.length, digest: digestOf(blob) };
  const manifest = JSON.stringify({ schemaVersion: 2, mediaType: MANIFEST, config: described, layers: [described] });
  const headers = { authorization, "content-type": MANIFEST };
  t.equal((await call(session, "/v2/datagrok/a/manifests/1", { method: "PUT", headers, body: [Buffer.from(manifest)] })).status, 201);
  t.same(stand.pushed, [{ repository: "datagrok/a", reference: "1", by: "ada" }]);

  const head = await call(session, path, { method: "HEAD" });
  t.equal(head.headers["content-length"], String(blob.length));
  t.equal((await call(session, "/v2/datagrok/a/manifests/1", { headers: { accept: MANIFEST } })).body.toString(), manifest);
  const pulls = await Promise.all(Array.from({ length: 4 }, () => call(session, path)));
  t.same(
    pulls.map(({ body }) => digestOf(body)),
    pulls.map(() => digestOf(blob)),
  );
  const part = await call(session, path, { headers: { range: "bytes=2-5" } });
  t.equal(part.status, 206);
  t.same(part.body, blob.subarray(2, 6));
  t.ok(protocols.length > 0 && protocols.every((protocol) => protocol === "h2"));
});

t.test("a pull that is cancelled does not end the others", async (t) => {
  const { session, token } = await openSession(t);
  const blob = randomBytes(8_000_000);
  const path = await pushBlob(t, session, await token("repository:datagrok/a:pull,push"), blob);
  const other = call(session, path);
  const cancelled = session.request({ ":path": path });
  await new Promise((resolve) => cancelled.once("data", resolve));
  cancelled.close(constants.NGHTTP2_CANCEL);
  t.equal(digestOf((await other).body), digestOf(blob));
  t.equal((await call(session, path, { method: "HEAD" })).status, 200);
});
