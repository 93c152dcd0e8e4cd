import { request as httpRequest, type RequestOptions } from "node:http";
import type { Clock } from "../clock.ts";
import { Fault, type FaultCode, FAULTS } from "../fault.ts";

/**
 * Calls the API of the berth that runs, as its first user; `path` begins below `/api`; an answer may take 15 s where no
 * other limit is given. Faults: CONTROL_AWAY where none runs,
 * DEV_KEY_INVALID where it has another key, and what the API refuses with.
 */
export type CallControl = <T>(method: string, path: string, body?: object, limitMs?: number) => Promise<T>;

const CALL_MS = 15_000;
const LONGEST_ANSWER = 4 * 1_048_576;

/** `key` is the admin key, undefined where there is none; `data`, the data folder, tells people which berth is meant. */
export function callControl(parts: { apiSocket: string; data: string; key: string | undefined; clock: Clock }): CallControl {
  const { apiSocket, data, key, clock } = parts;
  return async (method, path, body, limitMs = CALL_MS) => {
    if (key === undefined) throw new Fault("CONTROL_AWAY", noBerth(data));
    const text = body === undefined ? "" : JSON.stringify(body);
    const headers = {
      authorization: `Dev ${key}`,
      ...(body === undefined ? {} : { "content-type": "application/json", "content-length": Buffer.byteLength(text) }),
    };
    const over = new AbortController();
    const late = () => new Fault("CONTROL_AWAY", `The berth on ${data} did not answer within ${limitMs / 1_000} s.`);
    const signal = clock.deadline(limitMs, late, over.signal);
    try {
      const { status, said } = await exchange({ socketPath: apiSocket, path: `/api${path}`, method, headers, signal }, text);
      if (status < 300) return said as never;
      throw refusal(said, data);
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      throw error instanceof Fault ? error : new Fault("CONTROL_AWAY", noBerth(data), { cause: error });
    } finally {
      over.abort();
    }
  };
}

function exchange(options: RequestOptions, text: string): Promise<{ status: number; said: unknown }> {
  return new Promise((resolve, reject) => {
    const sent = httpRequest(options, (answer) => {
      let came = "";
      answer.setEncoding("utf8");
      answer.on("data", (piece: string) => {
        came += piece;
        if (came.length > LONGEST_ANSWER) answer.destroy(new Error("the answer is too long"));
      });
      answer.once("error", reject);
      answer.once("end", () => resolve({ status: answer.statusCode ?? 500, said: readJson(came) }));
    });
    sent.on("error", reject);
    sent.end(text);
  });
}

function readJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

function refusal(said: unknown, data: string): Fault {
  const { code, message } = (said ?? {}) as { code?: string; message?: string };
  if (code === "DEV_KEY_INVALID") {
    return new Fault("DEV_KEY_INVALID", `The berth on ${data} has another admin key: run this with the BERTH_ADMIN_KEY that it was started with.`);
  }
  const known = code !== undefined && code in FAULTS ? (code as FaultCode) : "INTERNAL";
  return new Fault(known, message ?? "The control plane's answer cannot be read.");
}

function noBerth(data: string): string {
  return `No berth runs on the data folder ${data}: start it first, or name its folder by BERTH_DATA.`;
}
