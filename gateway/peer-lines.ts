import type { Head, HeaderLine, WrittenLines } from "./decision.ts";
import { ConstantLines } from "./written-lines.ts";

const PROTO_HTTP: HeaderLine = ["X-Forwarded-Proto", "http"];
const PROTO_HTTPS: HeaderLine = ["X-Forwarded-Proto", "https"];

/** The lines that name a client and what it requested, made once for requests to the same host. */
export class PeerLines {
  readonly isTrusted: boolean;
  readonly #forwardedFor: HeaderLine;
  readonly #proto: HeaderLine;
  /** Of the last request. */
  #host: string | undefined;
  /** For that host, made when it comes a second time: the requests of a proxy may alternate between hosts. */
  #lines: WrittenLines | undefined;

  constructor(address: string, tls: boolean, isTrusted: boolean) {
    this.isTrusted = isTrusted;
    this.#forwardedFor = ["X-Forwarded-For", address];
    this.#proto = tls ? PROTO_HTTPS : PROTO_HTTP;
  }

  /** The constant lines of a client's request; undefined: those of `add`. */
  written(head: Head): WrittenLines | undefined {
    if (!this.#isLastHost(head)) {
      this.#host = head.header("host");
      this.#lines = undefined;
      return undefined;
    }
    this.#lines ??= new ConstantLines(this.add(head));
    return this.#lines;
  }

  /** The same, for one request. */
  add(head: Head): HeaderLine[] {
    const host = head.header("host");
    return host === undefined ? [this.#forwardedFor, this.#proto] : [this.#forwardedFor, this.#proto, ["X-Forwarded-Host", host]];
  }

  /** What a trusted proxy did not say itself, and its own address. */
  addToProxy(head: Head): HeaderLine[] {
    const before = head.header("x-forwarded-for");
    const add: HeaderLine[] = [before === undefined ? this.#forwardedFor : ["X-Forwarded-For", `${before}, ${this.#forwardedFor[1]}`]];
    if (head.header("x-forwarded-proto") === undefined) add.push(this.#proto);
    const host = head.header("x-forwarded-host") === undefined ? head.header("host") : undefined;
    if (host !== undefined) add.push(["X-Forwarded-Host", host]);
    return add;
  }

  #isLastHost(head: Head): boolean {
    const last = this.#host;
    if (last === undefined) return false;
    const span = head.spans?.headerSpan("host");
    if (span === undefined) return head.header("host") === last;
    const { bytes, start, end } = span;
    if (end - start !== last.length) return false;
    for (let at = 0; at < last.length; at++) if (bytes[start + at] !== last.charCodeAt(at)) return false;
    return true;
  }
}
