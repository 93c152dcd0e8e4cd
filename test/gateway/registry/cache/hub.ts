import { createServer, type IncomingMessage, request as forward, type ServerResponse } from "node:http";
import type { Test } from "tap";
import { listen } from "../../../fixtures/server.ts";
import { openDistribution } from "../distribution.ts";
import { digestOf, MANIFEST } from "../registry-client.ts";

export type Hub = {
  host: string;
  /** The requests that it got, `GET /v2/…`, without its token server and the requests before a token. */
  requests: string[];
  /** The users that requested tokens; empty for none. */
  logins: string[];
  /** Manifests that may still be pulled. */
  remaining: number;
  /** It answers nothing: every connection is closed. */
  isAway: boolean;
  /** Repositories to which the token server gives no token, with a status. */
  refused: Map<string, number>;
  /** The registry answers all with this status. */
  denies: number | undefined;
  /** Layers whose client left before the end. */
  left: number;
  /** Each layer waits for this before its last byte, and breaks off if it rejects. */
  hold: Promise<void> | undefined;
  /** Each layer waits for this before its first byte. */
  holdHead: Promise<void> | undefined;
  /** An image of these layers; the digest of its manifest. */
  push(repository: string, tag: string, ...layers: (string | Buffer)[]): Promise<string>;
  /** The same for machines of several kinds, as most images of Docker Hub are; the digest of its index. */
  pushIndex(repository: string, tag: string, ...layers: (string | Buffer)[]): Promise<string>;
};

const LIMIT = 100;
const INDEX = "application/vnd.oci.image.index.v1+json";
const TOKEN = "hub-token";

/**
 * Docker Hub, as its documentation describes it: Distribution behind a token server, headers about the limit of pulls, 429 beyond it, and layers behind
 * a redirect. Only GET requests of manifests count.
 */
export async function openHub(t: Test, password?: string): Promise<Hub> {
  const distribution = await openDistribution(t);
  const server = createServer((request, response) => {
    if (hub.isAway) return void request.socket.destroy();
    const { url = "", method = "", headers } = request;
    if (url.startsWith("/token")) {
      const [user = "", given] = Buffer.from(/^Basic (.*)/.exec(headers.authorization ?? "")?.[1] ?? "", "base64")
        .toString()
        .split(":");
      hub.logins.push(user);
      if (password !== undefined && given !== password) return refuse(response, 401, "UNAUTHORIZED", "incorrect username or password");
      const [, repository = ""] = (new URL(url, "http://hub").searchParams.get("scope") ?? "").split(":");
      const status = hub.refused.get(repository);
      if (status !== undefined) return refuse(response, status, "DENIED", "requested access to the resource is denied");
      return void response.end(JSON.stringify({ token: TOKEN, expires_in: 300 }));
    }
    // Where it redirects to there is no token, as at the store of a cloud.
    if (url.startsWith("/store/")) return void pass(request, response, url.slice("/store".length));
    if (headers.authorization !== `Bearer ${TOKEN}`) {
      response.setHeader("WWW-Authenticate", `Bearer realm="http://${hub.host}/token",service="registry.docker.io"`);
      return refuse(response, 401, "UNAUTHORIZED", "authentication required");
    }
    hub.requests.push(`${method} ${url}`);
    if (hub.denies !== undefined) return refuse(response, hub.denies, "DENIED", "requested access to the resource is denied");
    if (url.includes("/blobs/")) return void response.writeHead(307, { Location: `/store${url}` }).end();
    if (url.includes("/manifests/")) {
      if (method === "GET" && hub.remaining === 0)
        return refuse(response, 429, "TOOMANYREQUESTS", "You have reached your unauthenticated pull rate limit.", { "Retry-After": "120" });
      if (method === "GET") hub.remaining--;
      response.setHeader("ratelimit-limit", `${LIMIT};w=21600`);
      response.setHeader("ratelimit-remaining", `${hub.remaining};w=21600`);
    }
    // Distribution 2 has one page.
    if (url.includes("/tags/list?n=1")) response.setHeader("Link", `<${url}&last=1>; rel="next"`);
    void pass(request, response, url);
  });
  const pass = async (request: IncomingMessage, response: ServerResponse, path: string) => {
    const { authorization: _, ...headers } = request.headers;
    response.once("close", () => (hub.left += response.writableFinished ? 0 : 1));
    if (path.includes("/blobs/")) await hub.holdHead;
    if (response.destroyed) return;
    const sent = forward({ port: distribution.port, path, method: request.method, headers }, (received) => {
      response.writeHead(received.statusCode ?? 500, received.headers);
      const { hold } = hub;
      if (hold === undefined || !path.includes("/blobs/")) return void received.pipe(response);
      received.once("data", (piece: Buffer) => {
        response.write(piece.subarray(0, -1));
        const release = () => {
          response.write(piece.subarray(-1));
          received.pipe(response);
        };
        hold.then(release, () => response.destroy());
        received.pause();
      });
    });
    // The registry ends before the last client has left.
    sent.on("error", () => response.destroy());
    request.pipe(sent);
  };
  const { port } = await listen(t, server);
  const root = `http://127.0.0.1:${distribution.port}/v2`;
  const hub: Hub = {
    host: `127.0.0.1:${port}`,
    requests: [],
    logins: [],
    remaining: LIMIT,
    isAway: false,
    refused: new Map(),
    denies: undefined,
    left: 0,
    hold: undefined,
    holdHead: undefined,
    push: async (repository, tag, ...layers) => (await pushImage(repository, tag, layers)).digest,
    pushIndex: async (repository, tag, ...layers) => {
      const { digest, size } = await pushImage(repository, `${tag}-amd64`, layers);
      const platform = { os: "linux", architecture: "amd64" };
      return (
        await putManifest(repository, tag, { schemaVersion: 2, mediaType: INDEX, manifests: [{ mediaType: MANIFEST, digest, size, platform }] })
      ).digest;
    },
  };
  const blob = async (repository: string, content: string | Buffer) => {
    const begun = await fetch(`${root}/${repository}/blobs/uploads/`, { method: "POST" });
    const at = new URL(begun.headers.get("location") ?? "");
    at.searchParams.set("digest", digestOf(content));
    t.equal((await fetch(at, { method: "PUT", body: content })).status, 201);
    return { digest: digestOf(content), size: content.length };
  };
  const putManifest = async (repository: string, tag: string, manifest: { mediaType: string } & Record<string, unknown>) => {
    const body = JSON.stringify(manifest);
    const headers = { "content-type": manifest.mediaType };
    t.equal((await fetch(`${root}/${repository}/manifests/${tag}`, { method: "PUT", headers, body })).status, 201);
    return { digest: digestOf(body), size: body.length };
  };
  const pushImage = async (repository: string, tag: string, layers: readonly (string | Buffer)[]) => {
    const rootfs = { type: "layers", diff_ids: layers.map(digestOf) };
    const config = JSON.stringify({ architecture: "amd64", os: "linux", config: {}, rootfs });
    const described = [];
    for (const layer of layers) described.push({ mediaType: "application/vnd.oci.image.layer.v1.tar", ...(await blob(repository, layer)) });
    return putManifest(repository, tag, {
      schemaVersion: 2,
      mediaType: MANIFEST,
      config: { mediaType: "application/vnd.oci.image.config.v1+json", ...(await blob(repository, config)) },
      layers: described,
    });
  };
  return hub;
}

function refuse(response: ServerResponse, status: number, code: string, message: string, headers: Record<string, string> = {}): void {
  response.writeHead(status, { "Content-Type": "application/json", ...headers }).end(JSON.stringify({ errors: [{ code, message }] }));
}
