import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { parseReply } from "../../lib/http-client.ts";
import type { Log } from "../../lib/log.ts";
import { layerBytes } from "../../lib/registry-client/registry-client.ts";
import type { PushCheckRequest } from "../contract.ts";
import type { ForwardTarget, HeaderLine } from "../decision.ts";
import { upstreamOrigin } from "./locations.ts";
import { openPrivateRegistry } from "./private-registry.ts";
import { openRegistryHttp, type Upstream } from "./upstream/upstream.ts";

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
  clock: Clock;
  log: Log;
}): Promise<PushCheck> {
  const { upstream, check, clock, log } = deps;
  const socketPath = "socketPath" in upstream.target ? upstream.target.socketPath : undefined;
  const http = openRegistryHttp({ clock, socketPath });
  const origin = upstreamOrigin({ upstream });

  const answer = async (request: IncomingMessage, response: ServerResponse, signal: AbortSignal): Promise<void> => {
    const body = await readManifest(request);
    const push = JSON.parse(decodeURIComponent(request.headers[PUSH_HEADER]?.toString() ?? "")) as PushCheckRequest;
    await check({ ...push, sizeBytes: imageBytes(body) }, signal);
    const reply = await http.request({ method: "PUT", url: origin + (request.url ?? ""), headers: sentOn(request.headers), body, signal });
    response.writeHead(reply.status, sentOn(reply.headers)).end(reply.body);
  };
  const server = await openPrivateRegistry("the check of pushes", answer, log);
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

/** 0 for an index, whose images were pushed before, and for what is no manifest, which the registry refuses. */
function imageBytes(body: Buffer): number {
  return layerBytes((parseReply(body.toString("utf8")) as { layers?: unknown } | null | undefined) ?? {}) ?? 0;
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
