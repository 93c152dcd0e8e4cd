import { createServer } from "node:http";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import type { Test } from "tap";
import { listen } from "../../fixtures/server.ts";

export const DEV_KEY = "a-developer-key";
export const SERVICE = "docker-registry";

type Signer = { kid: string; privateKey: CryptoKey; publicKey: CryptoKey };

/** A stand-in for the server that knows the users: makes tokens for one developer key, which may do everything it asks for. */
export type TokenServer = {
  url: string;
  issuer: string;
  /** How often the keys were fetched. */
  keyRequests: number;
  requests: string[];
  /** While true it does not answer. */
  away: boolean;
  /** A new key signs; `published` says whether the old one stays in the set. */
  rotate(kid: string, published?: boolean): Promise<void>;
  /** What `/docker/keys` answers, instead of a JWKS. */
  publish: ((keys: Signer[]) => Promise<string>) | undefined;
  /** A token with these claims beside the usual ones; undefined takes one out. */
  sign(claims?: Record<string, unknown>, header?: Record<string, unknown>): Promise<string>;
  signer(): Signer;
};

export async function openTokenServer(t: Pick<Test, "teardown">): Promise<TokenServer> {
  let keys: Signer[] = [await makeSigner("first")];
  const http = createServer(async (request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? "/", "http://x");
    if (server.away) return void request.socket.destroy();
    server.requests.push(pathname);
    const json = (status: number, body: unknown) =>
      void response.writeHead(status, { "content-type": "application/json" }).end(typeof body === "string" ? body : JSON.stringify(body));
    if (pathname === "/api/admin/startup_data") return json(200, { webRoot: server.issuer });
    if (pathname === "/api/docker/keys") {
      server.keyRequests++;
      return json(200, server.publish ? await server.publish(keys) : { keys: await Promise.all(keys.map(jwkOf)) });
    }
    if (pathname !== "/api/docker/token") return json(404, {});
    let form = searchParams;
    let key = Buffer.from((request.headers.authorization ?? "").slice("Basic ".length), "base64")
      .toString()
      .split(":")[1];
    if (request.method === "POST") {
      let text = "";
      for await (const piece of request) text += String(piece);
      form = new URLSearchParams(text);
      key = form.get("password") ?? "";
    }
    if (key !== DEV_KEY) return json(401, { message: "unknown key" });
    const access = form
      .getAll("scope")
      .flatMap((scope) => scope.split(" "))
      .map((scope) => scope.split(":"))
      .map(([type, name, actions = ""]) => ({ type, name, actions: actions.split(",") }));
    const service = [form.get("service"), searchParams.get("service")].find(Boolean);
    const token = await server.sign({ access, aud: service });
    json(200, { token, access_token: token, expires_in: 1800, issued_at: new Date().toISOString() });
  });
  const { port } = await listen(t, http);
  const origin = `http://127.0.0.1:${port}`;
  const server: TokenServer = {
    url: `${origin}/api`,
    issuer: origin,
    keyRequests: 0,
    requests: [],
    away: false,
    publish: undefined,
    rotate: async (kid, published = true) => void (keys = [await makeSigner(kid), ...(published ? keys : [])]),
    signer: () => keys[0] as Signer,
    sign: (claims = {}, header = {}) => {
      const now = Math.floor(Date.now() / 1_000);
      const payload = { iss: server.issuer, aud: SERVICE, sub: "ada", iat: now, nbf: now, exp: now + 1_800, lim: "docker", ...claims };
      const { kid, privateKey } = keys[0] as Signer;
      const definedClaims = Object.fromEntries(Object.entries(payload).filter(([, value]) => value !== undefined));
      return new SignJWT(definedClaims).setProtectedHeader({ alg: "RS256", typ: "JWT", kid, ...header }).sign(privateKey);
    },
  };
  return server;
}

export async function makeSigner(kid: string): Promise<Signer> {
  return { kid, ...(await generateKeyPair("RS256", { extractable: true })) };
}

export async function jwkOf({ kid, publicKey }: Signer): Promise<object> {
  return { ...(await exportJWK(publicKey)), kid, alg: "RS256", use: "sig" };
}
