import type { HeadParser } from "./head-parser.ts";
import type { HeadScan } from "./head-scan.ts";
import { NOT_PLAIN, scanRequest, scanResponse } from "./head-scanner.ts";
import { MessageRefused } from "./framing.ts";
import { takeRequest, takeResponse } from "./parsed-head.ts";

/** Reads heads of one kind. */
export type HeadSource = {
  /** Of the head that was read last. */
  readonly scan: HeadScan;
  /** Reads a head that begins at `from`; returns the offset after it, or -1 if more bytes are needed. Throws MessageRefused. */
  read(memory: Buffer, from: number, to: number): number;
};

type SourceDeps = { parser: HeadParser; scan: HeadScan; maxLines: number };

/** The scanner reads plain heads. The parser reads all others, and refuses. `scans`: false without the scanner, to compare both. */
export class RequestSource implements HeadSource {
  readonly scan: HeadScan;
  readonly #deps: SourceDeps;
  readonly #dropUnderscores: boolean;
  readonly #scans: boolean;

  constructor(deps: SourceDeps, { dropUnderscores, scans }: { dropUnderscores: boolean; scans: boolean }) {
    this.scan = deps.scan;
    this.#deps = deps;
    this.#dropUnderscores = dropUnderscores;
    this.#scans = scans;
  }

  read(memory: Buffer, from: number, to: number): number {
    const { scan, parser, maxLines } = this.#deps;
    if (this.#scans) {
      const end = scanRequest(memory, from, to, maxLines, scan);
      if (end !== NOT_PLAIN) return end;
    }
    const parsed = parser.parse("request", memory, from, to);
    if (parsed === undefined) return -1;
    if (parsed.spans.length > maxLines * 3) throw new MessageRefused(431, "The head has too many lines");
    takeRequest(memory, from, parsed, this.#dropUnderscores, scan);
    return parsed.end;
  }
}

export class ResponseSource implements HeadSource {
  readonly scan: HeadScan;
  readonly #deps: SourceDeps;
  readonly #scans: boolean;

  constructor(deps: SourceDeps, { scans }: { scans: boolean }) {
    this.scan = deps.scan;
    this.#deps = deps;
    this.#scans = scans;
  }

  read(memory: Buffer, from: number, to: number): number {
    const { scan, parser, maxLines } = this.#deps;
    if (this.#scans) {
      const end = scanResponse(memory, from, to, maxLines, scan);
      if (end !== NOT_PLAIN) return end;
    }
    const parsed = parser.parse("response", memory, from, to);
    if (parsed === undefined) return -1;
    takeResponse(memory, from, parsed, scan);
    return parsed.end;
  }
}
