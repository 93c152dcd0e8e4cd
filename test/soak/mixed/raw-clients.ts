import { connect, type Socket } from "node:net";
import { connect as connectSecurely } from "node:tls";
import { crc32 } from "node:zlib";
import { bodyOf, targetOf } from "./plan.ts";
import { WrongResponse, type CheckedResponse, type SentRequest, type SoakTarget } from "./ordinary-clients.ts";

export function openRaw({ port, secured }: SoakTarget): Socket {
  const options = { port, host: "127.0.0.1", allowHalfOpen: true, noDelay: true };
  const socket = secured ? connectSecurely({ ...options, rejectUnauthorized: false }) : connect(options);
  return socket.on("error", () => undefined);
}

export function requestBytes({ pathOf }: SoakTarget, { method, containerId, plan, bodyLength }: SentRequest): Buffer {
  const framing = bodyLength === 0 ? "" : `Content-Length: ${bodyLength}\r\n`;
  const head = `${method} ${pathOf(containerId)}${targetOf(plan)} HTTP/1.1\r\nHost: x\r\nAuthorization: token\r\n${framing}\r\n`;
  return Buffer.concat([Buffer.from(head), bodyOf(`${plan.id} sent`, bodyLength)]);
}

/** Sends all requests at once, whose responses have a length, and checks each response. `halfClose`: ends its direction behind them. */
export function pipelineChecked(target: SoakTarget, all: readonly SentRequest[], halfClose: boolean): Promise<CheckedResponse> {
  return new Promise((resolve, reject) => {
    const socket = openRaw(target);
    let received: Buffer = Buffer.alloc(0);
    let nth = 0;
    const finish = (act: () => void) => {
      socket.destroy();
      act();
    };
    const take = () => {
      for (let sent = all[nth]; sent !== undefined; sent = all[nth]) {
        const rest = checkNext(received, sent);
        if (rest === undefined) return;
        received = rest;
        nth++;
      }
      finish(() =>
        received.length > 0
          ? reject(new WrongResponse(`bytes behind the last response: ${received.toString("latin1").slice(0, 200)}`))
          : resolve({ outcome: "right" }),
      );
    };
    socket.on("data", (piece: Buffer) => {
      received = Buffer.concat([received, piece]);
      try {
        take();
      } catch (error) {
        finish(() => reject(error));
      }
    });
    socket.once("close", () => resolve({ outcome: "broken" }));
    socket.once("end", () => finish(() => resolve({ outcome: "broken" })));
    socket.write(Buffer.concat(all.map((sent) => requestBytes(target, sent))));
    if (halfClose) socket.end();
  });
}

const HEAD = /^HTTP\/1\.1 (\d{3}) (?:[^\r\n]*)\r\n((?:[^\r\n]+\r\n)*)\r\n/;

/** What is left behind the response to `sent`, which is checked; undefined: more must come. */
function checkNext(received: Buffer, sent: SentRequest): Buffer | undefined {
  const end = received.indexOf("\r\n\r\n");
  if (end === -1) return undefined;
  const head = HEAD.exec(received.toString("latin1", 0, end + 4));
  if (head === null) throw new WrongResponse(`no head, but ${received.toString("latin1").slice(0, 200)}`);
  const behind = received.subarray(end + 4);
  const status = Number(head[1]);
  if (status < 200) return checkNext(behind, sent);
  const valueOf = (name: string) => new RegExp(`^${name}: (.*)\\r$`, "im").exec(head[2] ?? "")?.[1];
  const length = sent.method === "HEAD" ? 0 : Number(valueOf("content-length") ?? 0);
  if (behind.length < length) return undefined;
  const { plan } = sent;
  const id = valueOf("x-id");
  if (id === undefined && [502, 503, 504].includes(status)) return behind.subarray(length);
  const isRight =
    id === plan.id &&
    valueOf("x-sum") === String(crc32(bodyOf(`${plan.id} sent`, sent.bodyLength))) &&
    behind.subarray(0, length).equals(bodyOf(plan.id, sent.method === "HEAD" ? 0 : plan.length));
  if (!isRight) throw new WrongResponse(`the response to ${plan.id} has the head ${head[0]}`);
  return behind.subarray(length);
}

/** Sends a request, or a part of it, and leaves after so many bytes of the response or so many ms: by a reset, or by a close. */
export function leaveEarly(
  target: SoakTarget,
  sent: SentRequest,
  leave: { afterSent: number; afterReceived: number; afterMs: number; reset: boolean },
): Promise<CheckedResponse> {
  return new Promise((resolve) => {
    const socket = openRaw(target);
    let received = 0;
    const go = () => {
      clearTimeout(timer);
      if (leave.reset && !target.secured) socket.resetAndDestroy();
      else socket.destroy();
    };
    const timer = setTimeout(go, leave.afterMs);
    socket.on("data", (piece: Buffer) => {
      received += piece.length;
      if (received >= leave.afterReceived) go();
    });
    socket.once("end", go);
    socket.once("close", () => {
      clearTimeout(timer);
      resolve({ outcome: "broken" });
    });
    socket.write(requestBytes(target, sent).subarray(0, leave.afterSent));
  });
}
