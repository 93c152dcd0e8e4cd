import type { GatewayLimits } from "../../gateway/limits.ts";
import { readResponses, type MessageHead, type Read } from "./messages.ts";
import type { RawContainer } from "./raw-container.ts";
import { dial, within, type Wire } from "./wire.ts";

/** A proxy under question, with a raw container behind it. */
export type Probed = {
  port: number;
  /** Where clients speak TLS with it. */
  secured?: boolean;
  /** The request target that leads to `path` of the container. */
  at(path: string): string;
  /** The same over the route that says CONNECTED. */
  connected(path: string): string;
  /** Header lines that it wants in each request. */
  lines: readonly string[];
  container: RawContainer;
  /** When bytes last went either way, as far as the proxy says; epoch ms. */
  lastUse(): number;
};

/** `seen`: what came out on either side, in words. `missed`: which of the things that are right did not happen. */
export type RowResult = { targets: string; missed: readonly string[] };

export type CorrectnessRow = {
  id: string;
  /** What is sent, and what is right. */
  asks: string;
  /** Where that is written. */
  section: string;
  /** A promise of berth's own, or one that takes its settings: other proxies do not run it. */
  own?: boolean;
  limits?: Partial<GatewayLimits>;
  probe(proxy: Probed): Promise<RowResult>;
};

/** What must be true, in words, and whether it is. */
export function judge(seen: string, right: Readonly<Record<string, boolean>>): RowResult {
  return { targets: seen, missed: Object.entries(right).flatMap(([what, is]) => (is ? [] : [what])) };
}

export type ProbeHead = { method?: string; version?: string; host?: string | undefined; lines?: readonly string[] };

/** A request's head as bytes, for a path of the container. */
export function headFor(proxy: Probed, path: string, head: ProbeHead = {}): string {
  return headTo(proxy, proxy.at(path), head);
}

/** The same for a target as it is. */
export function headTo(
  proxy: Probed,
  target: string,
  { method = "GET", version = "1.1", host = "stand.example", lines = [] }: ProbeHead = {},
): string {
  return [`${method} ${target} HTTP/${version}`, ...(host === "" ? [] : [`Host: ${host}`]), ...proxy.lines, ...lines, "", ""].join("\r\n");
}

export type ProbeResponse = Read & { wire: Wire; last: MessageHead & { status: number; body: string; whole: boolean } };

const NOTHING = { start: "nothing", lines: [], values: () => [], status: 0, body: "", whole: false };

/** Sends bytes and waits until each of the requests in them (by method) is answered, or the connection is over. */
export async function ask(proxy: Probed, sent: string, methods: readonly string[] = ["GET"], ms = 2_000): Promise<ProbeResponse> {
  const wire = await dial(proxy);
  wire.send(sent);
  await answered(wire, methods, ms);
  return answersOf(wire, methods);
}

/** Waits until each request is answered in full, or the connection is over. */
export function answered(wire: Wire, methods: readonly string[] = ["GET"], ms = 2_000): Promise<boolean> {
  return within(ms, () => wire.state() !== "open" || finals(readResponses(wire.came(), methods, "open")) >= methods.length);
}

/** What has come to a client by now. */
export function answersOf(wire: Wire, methods: readonly string[] = ["GET"]): ProbeResponse {
  const read = readResponses(wire.came(), methods, wire.state());
  return { ...read, wire, last: read.responses.at(-1) ?? NOTHING };
}

function finals({ responses }: Read): number {
  return responses.filter(({ status, whole }) => whole && (status >= 200 || status === 101)).length;
}

/** Waits for the first request's head at the container. */
export async function arrived(proxy: Probed, count = 1, ms = 2_000): Promise<boolean> {
  return within(ms, () => proxy.container.heads().length >= count);
}

/** The first request as it came to the container. */
export function firstSeen({ container }: Probed): MessageHead {
  return container.heads()[0] ?? NOTHING;
}

/** Text as it can stand in a sentence. */
export function shown(text: string, most = 120): string {
  const quoted = JSON.stringify(text).slice(1, -1);
  return quoted.length > most ? `${quoted.slice(0, most)}…` : quoted;
}
