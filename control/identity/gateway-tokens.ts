import { GATEWAY_TOKEN_FILE } from "../../gateway/contract.ts";
import { randomBytes, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../../lib/clock.ts";
import { replaceFile } from "../../lib/replace-file.ts";
import { useDataFile } from "../store/store-fault.ts";
import { tokenDigest } from "./sessions.ts";

/** The token of gateways on other machines. It is in a file of the data folder with mode 0600, so that it exists before berth runs. */
export type GatewayTokens = {
  /** The token that gateways should send. It is created if there is none. */
  current(): string;
  /** Creates another token. The previous one stays valid for an hour, so that every gateway can receive the new one; with `atOnce` it ends now. */
  renew(atOnce: boolean): string;
  accepts(shown: string): boolean;
};

const HEAD = "# Tokens that gateways on other machines may use, the newest first: berth gateways token\n";
/** How long a replaced token stays valid: the time to bring the new one to all gateways. */
export const REPLACED_TOKEN_MS = 3_600_000;
/** Another process may replace the file: entries are read again after this time. */
const READ_AGAIN_MS = 1_000;

type GatewayTokenEntry = { token: string; /** Epoch ms. */ until: number | undefined };

/** Faults, in its methods: DATA_FOLDER_UNUSABLE, STORE_FULL, STORE_READ_ONLY. */
export function createGatewayTokens(options: {
  dataFolder: string;
  /** A token of the settings, which is accepted beside those of the file. */
  given?: (() => string) | undefined;
  clock: Clock;
}): GatewayTokens {
  const { dataFolder, given, clock } = options;
  const path = join(dataFolder, GATEWAY_TOKEN_FILE);
  let entries: GatewayTokenEntry[] = [];
  let readAt: number | undefined;

  const guarded = <R>(work: () => R): R => useDataFile(dataFolder, `The file of gateways' tokens ${path}`, work);
  const read = () => {
    entries = parse(readText(path)).filter(({ until }) => until === undefined || until > clock.now());
    readAt = clock.monotonic();
    return entries;
  };
  /** `first`: keeps a file that another process makes at this moment. */
  const write = (kept: readonly GatewayTokenEntry[], first: boolean) =>
    replaceFile(path, HEAD + kept.map(lineOf).join(""), { mode: 0o600, ownedByFolder: true, unlessExists: first });

  return {
    current: () =>
      guarded(() => {
        if (read().length === 0) write([made()], readText(path) === undefined);
        return read()[0]?.token ?? "";
      }),
    renew: (atOnce) =>
      guarded(() => {
        const until = clock.now() + REPLACED_TOKEN_MS;
        const before = atOnce ? [] : read().map((kept) => ({ ...kept, until: kept.until ?? until }));
        const kept = made();
        write([kept, ...before], false);
        return kept.token;
      }),
    accepts: (shown) =>
      guarded(() => {
        if (readAt === undefined || clock.monotonic() - readAt > READ_AGAIN_MS) read();
        if (given !== undefined && isSame(given(), shown)) return true;
        const now = clock.now();
        return entries.some(({ token, until }) => isSame(token, shown) && (until === undefined || until > now));
      }),
  };
}

function made(): GatewayTokenEntry {
  return { token: randomBytes(32).toString("hex"), until: undefined };
}

/** Digests have one length, and the time of comparing them reveals nothing about the tokens. */
function isSame(one: string, other: string): boolean {
  return timingSafeEqual(Buffer.from(tokenDigest(one)), Buffer.from(tokenDigest(other)));
}

function lineOf({ token, until }: GatewayTokenEntry): string {
  return until === undefined ? `${token}\n` : `${token} until ${new Date(until).toISOString()}\n`;
}

/** A truncated line, as a full disk leaves it, is no token. */
function parse(text = ""): GatewayTokenEntry[] {
  return [...text.matchAll(/^([0-9a-f]{64})(?: until (\S+))?$/gm)].map(([, token = "", until]) => ({
    token,
    until: until === undefined ? undefined : Date.parse(until),
  }));
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
