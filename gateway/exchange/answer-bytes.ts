import { Fault, type FaultCode } from "../../lib/fault.ts";
import type { Answer } from "../decision.ts";

/** An answer of the system's own as it goes over the wire. `bodyless`: to a HEAD, which is told of a body and gets none. */
export function answerBytes(answer: Answer, { bodyless, connection }: { bodyless: boolean; connection: string | undefined }): Buffer {
  const lines = answer.headers.map(([name, value]) => `${name}: ${value}\r\n`).join("");
  const last = connection === undefined ? "" : `Connection: ${connection}\r\n`;
  const head = Buffer.from(`HTTP/1.1 ${answer.status} ${answer.reason}\r\n${lines}${last}\r\n`, "latin1");
  return bodyless || answer.body === "" ? head : Buffer.concat([head, Buffer.from(answer.body)]);
}

const CODES: Record<number, FaultCode> = {
  408: "HEAD_TIMED_OUT",
  413: "BODY_TOO_LARGE",
  414: "TARGET_TOO_LONG",
  431: "HEAD_TOO_LARGE",
  501: "METHOD_UNKNOWN",
  505: "VERSION_UNSUPPORTED",
};

/** What is wrong with bytes that are no request; the connection ends with the answer to it. */
export function refusalFault(status: number, sentence: string): Fault {
  return new Fault(CODES[status] ?? "REQUEST_INVALID", sentence);
}
