import { crc32 } from "node:zlib";
import { numbers } from "../../fuzz/numbers.ts";

/** What a container does with one request; it is in the query of the target. */
export type ContainerPlan = {
  /** Comes back in `X-Id`. */
  id: string;
  status: number;
  /** Of the response's body, in bytes. */
  length: number;
  framing: "length" | "chunked" | "close";
  /** How many interim responses come first. */
  interim: number;
  act:
    | "answers"
    | "answers early"
    | "answers early and closes"
    | "resets"
    | "resets within"
    | "resets after"
    | "ends within"
    | "is silent"
    | "drips"
    | "pauses";
};

const PATTERN_BYTES = 4_194_304;

/** Bytes that both ends can make: every body is a part of it, which follows from the id. */
const PATTERN = pattern();

function pattern(): Buffer {
  const next = numbers(1);
  const bytes = Buffer.allocUnsafe(PATTERN_BYTES);
  for (let at = 0; at < PATTERN_BYTES; at += 4) bytes.writeUInt32LE(next(4_294_967_296), at);
  return bytes;
}

/** The body of `length` bytes, at most 2 MiB, of the request or response with this id. */
export function bodyOf(id: string, length: number): Buffer {
  const at = crc32(id) % (PATTERN_BYTES - 2_097_152);
  return PATTERN.subarray(at, at + length);
}

export function targetOf(plan: ContainerPlan): string {
  return `/mixed?${Buffer.from(JSON.stringify(plan)).toString("base64url")}`;
}

export function planIn(target: string): ContainerPlan {
  return JSON.parse(Buffer.from(target.slice(target.indexOf("?") + 1), "base64url").toString()) as ContainerPlan;
}
