import { mkdtempSync, rmSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import type { Test } from "tap";
import { type Berth, type Entity, startBerth, zipOf } from "../../fixtures/berth.ts";
import { eventually } from "../../fixtures/eventually.ts";

/** A running berth whose containers are processes of Node, and calls to it as the published clients make them. */
export type ProgramFixture = Berth & {
  data: string;
  /** Publishes and waits until every image has been judged. */
  published(name: string, files: Record<string, string>, more?: { query?: string; key?: string; version?: string }): Promise<PublishResponse>;
  json<T = Json>(path: string, init?: RequestInit): Promise<T>;
  /** A second person: a developer key and a session. */
  person(login: string): Promise<{ key: string; token: string }>;
};

/** Whatever a test expects to find in an answer; it asserts what it reads. */
// oxlint-disable-next-line typescript/no-explicit-any
export type Json = any;
export type PublishResponse = { status: number; warnings: string[]; containers: Entity[]; images: Json[]; code?: string };

/** Listens on the port that it is given and says its version; writes one line at its start. */
export const server = (version: string) =>
  `console.log("version ${version} speaks");
require("node:http").createServer((request, response) => {
  if (request.url === "/slow") return setTimeout(() => response.end("${version}"), 1_000);
  response.end("${version}");
}).listen(Number(process.env.PORT), "127.0.0.1");`;

/** The files of one folder that runs `server`. */
export function appFiles(folder: string, version: string, container: object = {}): Record<string, string> {
  const at = ["dockerfiles", folder].filter((part) => part !== "").join("/");
  return {
    [`${at}/Dockerfile`]: 'FROM node\nEXPOSE 8080\nCMD ["node", "server.cjs"]\n',
    [`${at}/server.cjs`]: server(version),
    [`${at}/container.json`]: JSON.stringify(container),
  };
}

export async function openStand(t: Test, env: Record<string, string> = {}): Promise<ProgramFixture> {
  const data = mkdtempSync(join(tmpdir(), "berth-contract-"));
  const berth = await startBerth({ data, env: { BERTH_DRIVER: "process", ...env } });
  const json = async <T>(path: string, init?: RequestInit) => (await berth.call(path, init)).json() as Promise<T>;
  t.teardown(async () => {
    // Services of the process driver outlive berth on purpose.
    for (const { id } of await json<Entity[]>("/docker/containers")) await berth.call(`/docker/containers/${id}/stop?awaitStop=true`);
    await berth.stop();
    rmSync(data, { recursive: true });
  });
  return {
    ...berth,
    data,
    json,
    published: async (name, files, { query = "?debug=false&rebuild=false&dropDb=false", key = berth.key, version = "1.0.0" } = {}) => {
      const body = await zipOf({ "package.json": JSON.stringify({ name, version }), ...files });
      const answer = await fetch(`${berth.api}/packages/dev/${name}${query}`, { method: "POST", headers: { authorization: `Dev ${key}` }, body });
      const result = (await answer.json()) as PublishResponse;
      for (const { id } of result.images ?? []) {
        await eventually(`image ${id} to be judged`, async () => {
          const { status } = await json<{ status: string }>(`/docker/images/${id}`);
          return ["ready", "error"].includes(status) ? true : undefined;
        });
      }
      return { ...result, status: answer.status };
    },
    person: async (login) => {
      const post = (body: object) => ({ method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
      await berth.call("/users", post({ login }));
      const { key } = await json<{ key: string }>(`/users/${login}/keys`, post({}));
      const signedIn = await fetch(`${berth.api}/users/login/dev`, { method: "POST", headers: { authorization: `Dev ${key}` } });
      return { key, token: ((await signedIn.json()) as { token: string }).token };
    },
  };
}

/** What `fetch` would not send: a path as it stands, a body of any kind, and the exact headers. */
export function raw(berth: Berth, method: string, path: string, headers: Record<string, string> = {}, body?: Uint8Array) {
  return new Promise<{ status: number; type: string | undefined; text: string }>((resolve, reject) => {
    const { hostname, port } = new URL(berth.base);
    const length = body === undefined ? {} : { "content-length": String(body.length) };
    const call = request({ hostname, port, method, path: `/api${path}`, headers: { ...length, ...headers } }, (answer) => {
      text(answer).then(
        (responseText) => resolve({ status: answer.statusCode ?? 0, type: answer.headers["content-type"], text: responseText }),
        (error: unknown) => reject(error as Error),
      );
    });
    call.once("error", reject);
    call.end(body);
  });
}

/** As clients encode a filter: twice. */
export const twice = (filter: string) => encodeURIComponent(encodeURIComponent(filter));
export const UNKNOWN = "3f1c9a52-7b0e-4d16-9a41-0123456789ab";
