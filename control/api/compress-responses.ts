import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { Readable } from "node:stream";
import { promisify } from "node:util";
import { constants, createGzip, gzip } from "node:zlib";

/** Below this, gzip saves less than a packet. */
const SMALLEST_BYTES = 1_024;
/** Zlib uses Node's thread pool, which file access shares. Above this, responses are sent uncompressed. */
const MAX_AT_ONCE = 16;
/** JSON becomes a tenth at the lowest level already. */
const OPTIONS = { level: constants.Z_BEST_SPEED };
const COMPRESSIBLE = /^(?:application\/json|text\/(?:html|css|javascript)|image\/svg\+xml)(?:;|$)/;

const compress = promisify<Buffer | string, typeof OPTIONS, Buffer>(gzip);

/**
 * Compresses JSON and pages with gzip where the client accepts it, outside the event loop. Not for requests with a cookie that another page made:
 * with those, a page could guess secrets in an answer from its length, beside words of its own choice (BREACH). Event streams and logs are sent as they are.
 */
export function compressResponses(app: FastifyInstance): void {
  let running = 0;
  /** Unchanged files and documents are compressed once. */
  const cache = new WeakMap<Buffer, Promise<Buffer>>();

  const compressed = async (payload: Buffer | string): Promise<Buffer | undefined> => {
    const cached = typeof payload === "string" ? undefined : cache.get(payload);
    if (cached) return cached;
    if (running >= MAX_AT_ONCE) return undefined;
    running++;
    const made = compress(payload, OPTIONS).finally(() => running--);
    if (typeof payload !== "string") cache.set(payload, made);
    return made;
  };

  app.addHook("onSend", async (request, reply, payload) => {
    if (!isCompressible(request, reply)) return payload;
    reply.header("vary", "Accept-Encoding");
    if (!acceptsGzip(request.headers["accept-encoding"]) || !isOfOwnPage(request)) return payload;
    if (payload instanceof Readable) {
      encoded(reply);
      const zipped = createGzip(OPTIONS);
      payload.once("error", (error) => zipped.destroy(error));
      zipped.once("close", () => payload.destroy());
      return payload.pipe(zipped);
    }
    if (!(typeof payload === "string" || Buffer.isBuffer(payload)) || Buffer.byteLength(payload) < SMALLEST_BYTES) return payload;
    const bytes = await compressed(payload);
    if (bytes === undefined) return payload;
    encoded(reply);
    return bytes;
  });
}

function encoded(reply: FastifyReply): void {
  reply.header("content-encoding", "gzip").removeHeader("content-length");
}

function isCompressible(request: FastifyRequest, reply: FastifyReply): boolean {
  if (request.method !== "GET" || request.routeOptions.config.uncompressed === true || reply.statusCode === 304) return false;
  return COMPRESSIBLE.test(String(reply.getHeader("content-type") ?? "")) && reply.getHeader("content-encoding") === undefined;
}

function isOfOwnPage({ headers }: FastifyRequest): boolean {
  return headers.cookie === undefined || headers["sec-fetch-site"] === "same-origin";
}

/** Source: RFC 9110, section 12.5.3. */
function acceptsGzip(header: string | string[] | undefined): boolean {
  const codings = String(header ?? "")
    .slice(0, 1_000)
    .toLowerCase()
    .split(",")
    .map((coding) => coding.split(";").map((part) => part.trim()));
  const [, quality = "q=1"] = codings.find(([name]) => name === "gzip") ?? codings.find(([name]) => name === "*") ?? ["", "q=0"];
  return !/^q=0(?:\.0*)?$/.test(quality);
}
