import { constants, type ClientHttp2Stream, type IncomingHttpHeaders } from "node:http2";
import { crc32 } from "node:zlib";
import { describeSession } from "./client-session.ts";
import { frame } from "../../fixtures/frame.ts";
import { otherBytes, WrongResponse, type CheckedResponse, type SentRequest, type SoakTarget } from "./ordinary-clients.ts";
import { bodyOf, targetOf } from "./plan.ts";

/** When a client cancels a stream. */
export type StreamCancel = { afterReceived: number; afterMs: number };

function openStream({ http2, pathOf }: SoakTarget, { method, containerId, plan, bodyLength, chunked }: SentRequest): ClientHttp2Stream {
  if (http2 === undefined) throw new Error("The client has no HTTP/2 connection");
  const length = bodyLength === 0 || chunked ? {} : { "content-length": bodyLength };
  const stream = http2
    .current()
    .request(
      { ":method": method, ":path": pathOf(containerId) + targetOf(plan), authorization: "token", ...length },
      { endStream: bodyLength === 0 },
    );
  stream.on("error", () => undefined);
  if (bodyLength > 0) stream.end(bodyOf(`${plan.id} sent`, bodyLength));
  return stream;
}

/**
 * Sends a request as a stream and checks its response, which may be cut by a reset of the stream. `leaves`: the client's own connection may end before:
 * then Node reports the end of the stream without an error.
 */
export function streamChecked(
  target: SoakTarget,
  sent: SentRequest,
  { cancel, leaves = false }: { cancel?: StreamCancel; leaves?: boolean } = {},
): Promise<CheckedResponse> {
  return new Promise((resolve, reject) => {
    const stream = openStream(target, sent);
    const { session } = stream;
    const sentAt = performance.now();
    let failure: Error | undefined;
    let headers: IncomingHttpHeaders | undefined;
    let trailer: unknown;
    let ended = false;
    const pieces: Buffer[] = [];
    let received = 0;
    const close = () => stream.close(constants.NGHTTP2_CANCEL);
    const timer = cancel === undefined ? undefined : setTimeout(close, cancel.afterMs);
    stream.once("response", (came) => (headers = came));
    stream.once("trailers", (came) => (trailer = came["x-trailer"]));
    stream.on("data", (piece: Buffer) => {
      pieces.push(piece);
      received += piece.length;
      if (cancel !== undefined && received >= cancel.afterReceived) close();
    });
    stream.once("end", () => (ended = true));
    stream.once("error", (error: Error) => (failure = error));
    const describe = () => {
      const { method, plan, bodyLength, chunked } = sent;
      const request = `${method} with ${bodyLength} bytes${chunked ? " without a length" : ""}, container ${plan.act} ${plan.length} bytes (${plan.framing})`;
      const response = headers === undefined ? "no response" : `response ${String(headers[":status"])}, ${received} bytes${ended ? ", ended" : ""}`;
      const ending = `stream ${stream.id} closed after ${Math.round(performance.now() - sentAt)} ms with code ${stream.rstCode}`;
      return [request, response, ending, failure?.message ?? "no error", session === undefined ? "" : describeSession(session)].join("; ");
    };
    stream.once("close", () => {
      clearTimeout(timer);
      try {
        const complete = ended && !leaves && stream.rstCode === constants.NGHTTP2_NO_ERROR;
        const body = Buffer.concat(pieces);
        const response = judge(sent, headers, { body, trailer, complete });
        if (response.outcome === "right") return resolve(response);
        resolve({ ...response, id: sent.plan.id, answer: `${describe()}${response.outcome === "refused" ? `; ${body.toString()}` : ""}` });
      } catch (error) {
        reject(error);
      }
    });
  });
}

function judge(
  { method, plan, bodyLength }: SentRequest,
  headers: IncomingHttpHeaders | undefined,
  { body, trailer, complete }: { body: Buffer; trailer: unknown; complete: boolean },
): CheckedResponse {
  if (headers === undefined) return { outcome: "broken" };
  const status = Number(headers[":status"]);
  const id = headers["x-id"];
  if (id === undefined && [502, 503, 504].includes(status)) return { outcome: "refused" };
  if (id !== plan.id) throw new WrongResponse(`the response to ${plan.id} is ${status} with the id ${String(id)}`);
  if (trailer !== undefined && trailer !== plan.id) throw new WrongResponse(`the response to ${plan.id} has the trailer of ${String(trailer)}`);
  if (status === 413) return { outcome: "right" };
  const sum = String(crc32(bodyOf(`${plan.id} sent`, bodyLength)));
  if (headers["x-sum"] !== sum) throw new WrongResponse(`the container got another body than ${plan.id} sent`);
  const isBodyless = method === "HEAD" || plan.status === 204 || plan.status === 304;
  const expected = bodyOf(plan.id, isBodyless ? 0 : plan.length);
  if (!expected.subarray(0, body.length).equals(body)) throw otherBytes(plan.id, expected, body);
  if (!complete) return { outcome: "broken" };
  if (body.length !== expected.length)
    throw new WrongResponse(`the response to ${plan.id} has ${body.length} of ${expected.length} bytes, and looks complete`);
  return { outcome: "right" };
}

type StreamedMessages = { containerId: string; id: string; lengths: readonly number[]; end: "ends" | "cancels" };

/** A WebSocket by extended CONNECT (RFC 8441): sends messages, and checks that each comes back, in order. */
export function echoStreamChecked({ http2, pathOf }: SoakTarget, { containerId, id, lengths, end }: StreamedMessages): Promise<CheckedResponse> {
  return new Promise((resolve, reject) => {
    if (http2 === undefined) return reject(new Error("The client has no HTTP/2 connection"));
    const path = `${pathOf(containerId)}/mixed?${id}`;
    const session = http2.current();
    const stream = session.request({
      ":method": "CONNECT",
      ":protocol": "websocket",
      ":path": path,
      authorization: "token",
      "sec-websocket-version": "13",
    });
    const bodies = lengths.map((length, nth) => bodyOf(`${id} ${nth}`, length));
    const expected = Buffer.concat(bodies.map((body) => frame(2, body, { masked: false })));
    let received: Buffer = Buffer.alloc(0);
    let isRight = false;
    let status: number | undefined;
    let failure: Error | undefined;
    stream.on("error", (error: Error) => (failure = error));
    stream.once("response", (headers) => {
      status = headers[":status"];
      if (status !== 200) return stream.close();
      for (const body of bodies) stream.write(frame(2, masked(body)));
    });
    stream.on("data", (piece: Buffer) => {
      if (isRight) return;
      received = Buffer.concat([received, piece]);
      if (!expected.subarray(0, received.length).equals(received)) {
        stream.close();
        return reject(new WrongResponse(`a message of ${id} came back as another one`));
      }
      isRight = received.length === expected.length;
      if (!isRight) return;
      if (end === "ends") stream.end();
      else stream.close(constants.NGHTTP2_CANCEL);
    });
    stream.once("close", () => {
      if (isRight) return resolve({ outcome: "right" });
      const response = `response ${status ?? "none"}, ${received.length} of ${expected.length} bytes`;
      const ending = `stream ${stream.id} closed with code ${stream.rstCode}`;
      resolve({ outcome: "broken", id, answer: [response, ending, failure?.message ?? "no error", describeSession(session)].join("; ") });
    });
  });
}

/** The payload as `frame` sends it, under the mask 1, 2, 3, 4. */
function masked(body: Buffer): Buffer {
  const bytes = Buffer.from(body);
  for (let at = 0; at < bytes.length; at++) bytes[at] = (bytes[at] as number) ^ ((at % 4) + 1);
  return bytes;
}
