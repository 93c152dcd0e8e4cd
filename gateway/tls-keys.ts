import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFileSync, watch } from "node:fs";
import { dirname } from "node:path";
import { createSecureContext, type Server } from "node:tls";
import type { Clock } from "../lib/clock.ts";
import { Fault } from "../lib/fault.ts";
import type { Log } from "../lib/log.ts";

/** A certificate with its chain, and its key, as they are now. */
export type TlsKeys = {
  current(): { cert: string; key: string };
  /** Calls `act` whenever they have changed, until the returned function is called. */
  onChange(act: () => void): () => void;
  /** Looks now, as for somebody who knows that they have changed. */
  reload(): void;
  close(): void;
};

type KeyPairFiles = { cert: string; key: string };

/** Writers of such files write one after the other, and often more than once. */
const SETTLE_MS = 200;
/** Some file systems tell nothing of what others write. */
const POLL_MS = 60_000;
const SOON_MS = 7 * 24 * 3_600_000;

/**
 * Reads a certificate and its key from two PEM files, and again when they change; what cannot be used is told to the log, and what was
 * there before stays. `whose` they are, the log says. Faults, at the opening only: SETTINGS_INVALID.
 */
export function openTlsKeys({ files, whose = "The edge", clock, log }: { files: KeyPairFiles; whose?: string; clock: Clock; log: Log }): TlsKeys {
  let pair = readPair(files);
  warnOfAge(pair, whose, clock, log);
  let complaint = "";
  let cancelSettle = () => {};
  let cancelPoll = () => {};
  const acts = new Set<() => void>();

  const reload = () => {
    cancelSettle();
    cancelPoll();
    cancelPoll = clock.after(POLL_MS, reload);
    try {
      const now = readPair(files);
      complaint = "";
      if (now.cert === pair.cert && now.key === pair.key) return;
      pair = now;
      warnOfAge(pair, whose, clock, log);
      log.info({ ...datesOf(pair) }, `${whose} has a new certificate`);
      for (const act of acts) act();
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      if (complaint !== error.message) log.warn({ err: error }, `The certificate has changed and cannot be used: ${whose} keeps the one before`);
      complaint = error.message;
    }
  };

  // Folders, not files: a file is often put in place of another, and links to them are turned.
  const folders = new Set([dirname(files.cert), dirname(files.key)]);
  const watchers = [...folders].flatMap((folder) => {
    try {
      const watcher = watch(folder, { persistent: false }, () => {
        cancelSettle();
        cancelSettle = clock.after(SETTLE_MS, reload);
      });
      // What it would have told, looking every now and then finds too.
      watcher.on("error", () => watcher.close());
      return [watcher];
    } catch {
      return [];
    }
  });
  cancelPoll = clock.after(POLL_MS, reload);

  return {
    current: () => pair,
    onChange: (act) => {
      acts.add(act);
      return () => void acts.delete(act);
    },
    reload,
    close: () => {
      cancelSettle();
      cancelPoll();
      acts.clear();
      for (const watcher of watchers) watcher.close();
    },
  };
}

/** Lets new connections to `server` have what `keys` has at the time; those that are open keep what they began with. */
export function keepKeys(server: Server, keys: TlsKeys): void {
  const forget = keys.onChange(() => server.setSecureContext(keys.current()));
  server.once("close", forget);
}

function readPair(files: KeyPairFiles): KeyPairFiles {
  const cert = readPem(files.cert, "certificate");
  const key = readPem(files.key, "key");
  const certificate = parsed(() => new X509Certificate(cert), files.cert, "a certificate in PEM form");
  const secret = parsed(() => createPrivateKey(key), files.key, "a private key in PEM form without a passphrase");
  if (!certificate.checkPrivateKey(secret)) {
    throw new Fault("SETTINGS_INVALID", `The key in ${files.key} is not that of the certificate in ${files.cert}.`);
  }
  // Chains are looked at, and keys too short for anybody's trust refused, only where a server takes them.
  parsed(() => createSecureContext({ cert, key }), files.cert, "a certificate, with its chain, that TLS can use today");
  return { cert, key };
}

function readPem(path: string, what: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new Fault("SETTINGS_INVALID", `The ${what} ${path} cannot be read: ${(cause as NodeJS.ErrnoException).code ?? "no reason given"}.`, {
      cause,
    });
  }
}

/** Without the cause: it might show what is in the file. */
function parsed<T>(parse: () => T, path: string, what: string): T {
  try {
    return parse();
  } catch {
    throw new Fault("SETTINGS_INVALID", `The file ${path} is not ${what}.`);
  }
}

function datesOf({ cert }: KeyPairFiles): { validFrom: string; validTo: string } {
  const { validFrom, validTo } = new X509Certificate(cert);
  return { validFrom, validTo };
}

function warnOfAge(pair: KeyPairFiles, whose: string, clock: Clock, log: Log): void {
  const dates = datesOf(pair);
  const [from, to] = [Date.parse(dates.validFrom), Date.parse(dates.validTo)];
  if (to < clock.now()) log.warn(dates, `${whose} has a certificate that has expired: clients will refuse it`);
  else if (from > clock.now()) log.warn(dates, `${whose} has a certificate that is not valid yet: clients will refuse it`);
  else if (to < clock.now() + SOON_MS) log.warn(dates, `${whose} has a certificate that expires within a week`);
}
