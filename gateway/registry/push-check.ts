import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { MOST_REPLY_VALUES, openHttpClient, parseReply } from "../../lib/http-client.ts";
import type { Log } from "../../lib/log.ts";
import { layerBytes, repeatsKeys } from "../../lib/registry-client/registry-client.ts";
import type { PushCheckRequest } from "../contract.ts";
import type { ForwardTarget, HeaderLine } from "../decision.ts";
import { upstreamOrigin } from "./locations.ts";
import { openPrivateRegistry } from "./private-registry.ts";
import { CONNECT_MS, registryHttpFault, type Upstream } from "./upstream/upstream.ts";
import { isDigest } from "../../lib/registry-client/digest.ts";

/** Names to the check whose push it is, and of what. The proxy alone sets it. */
export const PUSH_HEADER = "x-berth-push";

/** Checks manifests before the registry stores them. */
export type PushCheck = {
  /** Where a PUT of a manifest goes instead of to the registry, with these header lines. */
  target: ForwardTarget;
  lines(push: Omit<PushCheckRequest, "sizeBytes">): readonly HeaderLine[];
  close(): Promise<void>;
};

/** What CNCF Distribution takes at most. */
const MAX_MANIFEST_BYTES = 4 * 1_048_576;

/**
 * Reads each manifest, since only there is the size of the image, and sends it on to the registry if `check` does not reject. Faults of a refusal become the
 * response in the registry's format.
 */
export async function openPushCheck(deps: {
  upstream: Upstream;
  check(push: PushCheckRequest, signal: AbortSignal): Promise<void>;
  /** How long the registry may take to store a manifest: it looks for each layer, and some scan the image. */
  answerMs: number;
  clock: Clock;
  log: Log;
}): Promise<PushCheck> {
  const { upstream, check, answerMs, clock, log } = deps;
  const socketPath = "socketPath" in upstream.target ? upstream.target.socketPath : undefined;
  const http = openHttpClient({
    clock,
    maxBytes: MAX_MANIFEST_BYTES,
    timeoutMs: answerMs,
    connectTimeoutMs: CONNECT_MS,
    ...(socketPath === undefined ? {} : { socketPath }),
    toFault: registryHttpFault,
  });
  const origin = upstreamOrigin({ upstream });

  const answer = async (request: IncomingMessage, response: ServerResponse, signal: AbortSignal): Promise<void> => {
    const body = await readManifest(request);
    const manifest = parseManifest(body);
    const sizeBytes = layerBytes(manifest) ?? 0;
    await requireStoredSizes(request, describedBlobs(manifest), signal);
    const push = JSON.parse(decodeURIComponent(request.headers[PUSH_HEADER]?.toString() ?? "")) as PushCheckRequest;
    await check({ ...push, sizeBytes }, signal);
    const reply = await http.request({ method: "PUT", url: origin + (request.url ?? ""), headers: sentOn(request.headers), body, signal });
    response.writeHead(reply.status, sentOn(reply.headers)).end(reply.body);
  };
  /** Registries store manifests with any sizes, and engines pull by digest: an author would choose how much of a quota an image takes. */
  const requireStoredSizes = async ({ url = "", headers }: IncomingMessage, sizes: ReadonlyMap<string, unknown>, signal: AbortSignal) => {
    const blobs = url.replace(/\/manifests\/[^/]*$/, "/blobs/");
    const sent = { host: headers.host, authorization: headers.authorization };
    const look = async ([digest, size]: [string, unknown]): Promise<void> => {
      const reply = await http.request({ method: "HEAD", url: `${origin}${blobs}${digest}`, headers: sent, signal });
      const stored = Number(reply.header("content-length") ?? Number.NaN);
      // Others say nothing of the size, such as a redirect.
      if (reply.status === 404) throw new Fault("PUSH_REFUSED", `The registry has no layer ${digest} of the manifest: push it first`);
      if (reply.status === 200 && Number.isSafeInteger(stored) && stored !== size)
        throw new Fault("PUSH_REFUSED", `The manifest gives ${digest} another size than its ${stored} bytes: build the image again`);
    };
    const all = [...sizes];
    for (let at = 0; at < all.length; at += LOOKS_AT_ONCE) await Promise.all(all.slice(at, at + LOOKS_AT_ONCE).map(look));
  };
  const server = await openPrivateRegistry("push check", answer, log);
  return {
    target: { socketPath: server.socketPath },
    lines: (push) => [[PUSH_HEADER, encodeURIComponent(JSON.stringify(push).toWellFormed())]],
    close: async () => {
      await server.close();
      http.close();
    },
  };
}

async function readManifest(request: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let size = 0;
  for await (const piece of request as AsyncIterable<Buffer>) {
    size += piece.length;
    if (size > MAX_MANIFEST_BYTES) throw new Fault("BODY_TOO_LARGE", `A manifest has at most ${MAX_MANIFEST_BYTES} bytes.`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

type CheckedManifest = { layers?: unknown; config?: unknown };

/** Faults: PUSH_REFUSED for a manifest that others may read in another way. */
function parseManifest(body: Buffer): CheckedManifest {
  const text = body.toString("utf8");
  const manifest = parseReply(text);
  if (!isObject(manifest))
    throw new Fault("PUSH_REFUSED", `The manifest is not a JSON object, or has more than ${MOST_REPLY_VALUES} values: push a smaller one`);
  if (repeatsKeys(text, manifest))
    throw new Fault("PUSH_REFUSED", "The manifest has a key twice in one object, which programs read in different ways: build the image again");
  requireKeys(manifest, ["layers", "config"]);
  for (const part of partsOf(manifest)) requireKeys(part, ["size", "digest"]);
  return manifest;
}

/** None of an index, whose images were pushed before. */
function partsOf({ layers, config }: CheckedManifest): Record<string, unknown>[] {
  return (Array.isArray(layers) ? [config, ...(layers as unknown[])] : [config]).filter(isObject);
}

const MOST_LAYERS = 1_000;
const LOOKS_AT_ONCE = 8;

/** The sizes of the manifest's blobs, by digest. Faults: PUSH_REFUSED. */
function describedBlobs(manifest: CheckedManifest): ReadonlyMap<string, unknown> {
  const sizes = new Map<string, unknown>();
  for (const { digest, size } of partsOf(manifest)) {
    // The registry refuses the manifest.
    if (!isDigest(digest)) continue;
    if (sizes.has(digest) && sizes.get(digest) !== size)
      throw new Fault("PUSH_REFUSED", `The manifest gives ${digest} two sizes: build the image again`);
    sizes.set(digest, size);
  }
  if (sizes.size > MOST_LAYERS) throw new Fault("PUSH_REFUSED", `The manifest has ${sizes.size} layers; ${MOST_LAYERS} are allowed`);
  return sizes;
}

/** Programs in Go take keys without regard to case, also with U+017F for an s, and the last one counts. */
function requireKeys(object: Record<string, unknown>, keys: readonly string[]): void {
  for (const key of Object.keys(object)) {
    const folded = key.toUpperCase().toLowerCase();
    if (folded !== key && keys.includes(folded))
      throw new Fault(
        "PUSH_REFUSED",
        `The manifest has the key ${JSON.stringify(key)}, which some programs read as "${folded}": write it in lower case`,
      );
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** About this connection, or set anew for the next one. */
const NOT_SENT_ON: ReadonlySet<string> = new Set([
  "connection",
  "content-length",
  "expect",
  "keep-alive",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  PUSH_HEADER,
]);

function sentOn(headers: IncomingHttpHeaders): Record<string, string> {
  const lines = Object.entries(headers).filter(([name, value]) => value !== undefined && !NOT_SENT_ON.has(name));
  return Object.fromEntries(lines.map(([name, value]) => [name, [value].flat().join(", ")]));
}
