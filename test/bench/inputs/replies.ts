import { generateKeyPairSync } from "node:crypto";
import { SignJWT } from "jose";
import { listPages } from "../../../gateway/datagrok/datagrok-client.ts";
import { readContainer } from "../../../gateway/datagrok/read-container.ts";
import { openBrowser } from "../../../gateway/registry/browse/open-browser.ts";
import { requestToken } from "../../../gateway/registry/upstream/bearer-tokens.ts";
import type { Upstream } from "../../../gateway/registry/upstream/upstream.ts";
import { openTokenVerifier } from "../../../gateway/registry/verify-token.ts";
import { systemClock } from "../../../lib/clock.ts";
import { Fault } from "../../../lib/fault.ts";
import { type HttpClient, MOST_REPLY_VALUES, parseReply } from "../../../lib/http-client.ts";
import { parseKeys } from "../../../lib/jwks/key-set.ts";
import { LONGEST_TOKEN } from "../../../lib/jwks/signers.ts";
import { parseChallenges } from "../../../lib/registry-client/registry-login.ts";
import { type InputCase, pumped } from "./input-case.ts";

/** What berth reads of one reply: of a Datagrok server or a registry, and of keys. */
const REPLY = 4 * 1_048_576;
const KEYS = 1_048_576;

const clock = systemClock();
const { signal } = new AbortController();

const filled = (text: string, bytes: number) => text.repeat(Math.floor(bytes / text.length));
/** A list of different names, or an object of different keys. */
const names = (bytes: number, value = "") => {
  const problems: string[] = [];
  for (let length = 0; length < bytes - 64; length += (problems.at(-1)?.length ?? 0) + 1) problems.push(`"${problems.length.toString(36)}"${value}`);
  return problems.join(",");
};

/** What takes JSON.parse long for its size. */
const hostile = (bytes: number): Readonly<Record<string, string>> => ({
  "different keys": `{${names(bytes, ":1")}}`,
  "objects of one key": `[${names(bytes, ":1")
    .replaceAll(/"[^,]*/g, "{$&}")
    .slice(0, bytes - 64)
    .replace(/,[^,]*$/, "")}]`,
  "different strings": `[${names(bytes)}]`,
  "empty objects": `[${filled("{},", bytes - 8)}{}]`,
  levels: `${"[".repeat(bytes / 2)}${"]".repeat(bytes / 2)}`,
  "as many keys as are read": `{${Array.from({ length: MOST_REPLY_VALUES - 10 }, (_, at) => `"${at.toString(36)}x":1`).join(",")}}`,
  "one long text": `"${filled("a\\n", bytes - 8)}"`,
});

/** A refusal is a result. */
async function refusable(read: () => unknown): Promise<void> {
  try {
    await read();
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
  }
}

const reply = (text: string): HttpClient => ({
  request: () => Promise.resolve({ status: 200, headers: {}, header: () => undefined, body: Buffer.from(text), text: () => text }),
  stream: () => Promise.reject(new Error("no stream")),
  close: () => undefined,
});
const upstream: Upstream = {
  target: { host: "registry.example", port: 80 },
  host: "registry.example",
  basePath: "",
  nameOf: (repository) => repository,
  authorization: () => undefined,
  refused: () => Promise.resolve(undefined),
  close: () => Promise.resolve(),
};

const registries: readonly [string, (http: HttpClient) => unknown][] = [
  ["tags list", (http) => openBrowser({ upstream, http, clock }).tags("a", signal)],
  ["manifest", (http) => openBrowser({ upstream, http, clock }).image("a", "latest", signal)],
  [
    "token reply",
    (http) => requestToken({ realm: new URL("http://token.example"), service: undefined }, [], { login: undefined, http, clock, signal }),
  ],
];

const replies: [name: string, read: () => unknown][] = [];
for (const [name, text] of Object.entries(hostile(REPLY))) {
  for (const [kind, ask] of registries) replies.push([`registry, ${kind}: ${name}`, () => ask(reply(text))]);
  const server = {
    get: () => Promise.resolve({ status: 200, body: parseReply(text) }),
    request: () => Promise.reject(new Error()),
    close: () => Promise.resolve(),
  };
  replies.push([`Datagrok server, list: ${name}`, () => listPages(server, "/docker/containers", "token", signal)]);
  replies.push([`Datagrok server, container: ${name}`, () => readContainer(parseReply(`{"id":"a","status":"started","config":${text}}`))]);
}
const tags = `{"name":"a","tags":[${Array.from({ length: MOST_REPLY_VALUES - 10 }, (_, at) => `"${at}"`).join(",")}]}`;
replies.push(["registry, tags list: many tags", () => openBrowser({ upstream, http: reply(tags), clock }).tags("a", signal)]);
const logs = JSON.stringify({ id: "a", status: "error", lastLogs: filled('["a"]\n', REPLY / 3) });
replies.push(["Datagrok server, container: a long log", () => readContainer(parseReply(logs))]);

const rsa = generateKeyPairSync("rsa", { modulusLength: 2_048 });
const jwk = rsa.publicKey.export({ format: "jwk" });
const pem = rsa.publicKey.export({ type: "spki", format: "pem" });
const sets: Readonly<Record<string, string>> = {
  ...hostile(KEYS),
  "thousands of keys": JSON.stringify({ keys: Array.from({ length: 2_500 }, (_, at) => ({ ...jwk, kid: String(at) })) }),
  "keys of 10 KB": JSON.stringify({ keys: Array.from({ length: 100 }, (_, at) => ({ ...jwk, n: filled("x", 10_000), kid: String(at) })) }),
  "no keys": JSON.stringify({ keys: Array.from({ length: 25_000 }, () => ({ kty: "RSA" })) }),
  "PEM files": JSON.stringify(Object.fromEntries(Array.from({ length: 2_000 }, (_, at) => [at, pem]))),
  "a long PEM file": `-----BEGIN PUBLIC KEY-----\n${filled("A", KEYS - 100)}\n-----END PUBLIC KEY-----`,
  "broken PEM files": JSON.stringify(Object.fromEntries(Array.from({ length: 100 }, (_, at) => [at, `-----BEGIN ${filled("A", 10_000)}`]))),
};
for (const [name, text] of Object.entries(sets)) replies.push([`keys of tokens: ${name}`, () => parseKeys(text)]);

const { verify } = openTokenVerifier({
  keys: { find: () => Promise.resolve(rsa.publicKey), load: () => Promise.resolve(), version: () => 1 },
  issuer: () => "https://stand.example",
  audience: "registry",
  clock,
});
const coded = (text: string) => Buffer.from(text).toString("base64url");
const HEADER = { alg: "RS256", kid: "a" };
/** What fits into the longest token, as a header or a payload. */
const PAYLOAD_BYTES = Math.floor((LONGEST_TOKEN * 3) / 4) - 600;
let serial = 0;
/** Signed, since only then the payload is read; and a new one each time, since good ones are remembered. */
const signed = (claims: object) => () =>
  new SignJWT({ ...claims, serial: serial++, lim: "docker" })
    .setProtectedHeader(HEADER)
    .setIssuer("https://stand.example")
    .setAudience("registry")
    .setExpirationTime("1h")
    .sign(rsa.privateKey);
const unsigned = (header: string, payload: string) => () => Promise.resolve(`${coded(header)}.${coded(payload)}.${coded("x".repeat(256))}`);
const tokens: Readonly<Record<string, () => Promise<string>>> = {
  "a header of many keys": unsigned(`{"alg":"RS256",${names(PAYLOAD_BYTES, ":1")}}`, "{}"),
  "a header of levels": unsigned(`{"alg":"RS256","a":${"[".repeat(PAYLOAD_BYTES / 2)}${"]".repeat(PAYLOAD_BYTES / 2)}}`, "{}"),
  "a header of critical names": unsigned(JSON.stringify({ ...HEADER, crit: Array.from({ length: 2_000 }, (_, at) => `${at}`) }), "{}"),
  "a payload of levels": unsigned(JSON.stringify(HEADER), `${"[".repeat(PAYLOAD_BYTES / 2)}${"]".repeat(PAYLOAD_BYTES / 2)}`),
  "a signature of 12 KB": () => Promise.resolve(`${coded(JSON.stringify(HEADER))}.${coded("{}")}.${coded("x".repeat(PAYLOAD_BYTES))}`),
  "signed, with many permissions": signed({ access: Array.from({ length: 200 }, () => ({ type: "repository", name: "a", actions: ["pull"] })) }),
  "signed, with many actions": signed({ access: [{ type: "repository", name: "a", actions: Array.from({ length: 2_000 }, () => "a") }] }),
  "signed, with many audiences": signed({ aud: Array.from({ length: 2_000 }, (_, at) => `${at}`) }),
};

export const cases: InputCase[] = [
  ...replies.map(([name, read]) => ({ name, run: () => refusable(read) })),
  ...Object.entries(tokens).map(([name, make]) => {
    let made: readonly string[] = [];
    let at = 0;
    return {
      name: `JWT: ${name}`,
      prepare: async () => void (made = await Promise.all(Array.from({ length: 3 }, make))),
      run: () => refusable(() => verify(made[at++ % made.length] ?? "")),
    };
  }),
  pumped("JWT: any text", {
    limit: LONGEST_TOKEN,
    pieces: ["a", ".", "-", "_", "=", "eyJhbGciOiJSUzI1NiJ9", "e30"],
    worst: filled("a.", LONGEST_TOKEN),
    // What it asks about is not waited for: it is refused by its looks, or begun to be read at once.
    read: (text) => {
      try {
        void Promise.resolve(verify(text)).catch(() => undefined);
      } catch (error) {
        if (!(error instanceof Fault)) throw error;
      }
    },
  }),
  pumped("registry, WWW-Authenticate: any text", {
    limit: 16_384,
    pieces: ["Bearer ", "Basic", "realm=", '"', "\\", "a", ",", " ", "=", "\t"],
    worst: filled("a ", 8_192),
    read: (text) => parseChallenges(text),
  }),
];
