import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFileSync, watch } from "node:fs";
import { dirname } from "node:path";
import { createSecureContext, type Server } from "node:tls";
import type { Clock } from "../lib/clock.ts";
import { Fault } from "../lib/fault.ts";
import type { Log } from "../lib/log.ts";

/** A certificate with its chain, and its key. */
export type TlsKeys = {
  current(): { cert: string; key: string };
  /** Calls `act` after each change, until the returned function is called. */
  onChange(act: () => void): () => void;
  /** Reads the files now. */
  reload(): void;
  close(): void;
};

type KeyPairFiles = { cert: string; key: string };

/** Writers replace one file after the other, and often more than once. */
const SETTLE_MS = 200;
/** Some file systems send no event for changes by other machines. */
const POLL_MS = 60_000;
const EXPIRES_SOON_MS = 7 * 24 * 3_600_000;

/**
 * Reads a certificate and its key from two PEM files, and again when they change. An unusable change is logged, and the previous pair stays in use.
 * `whose`: the server, for the log. Faults, only at opening: SETTINGS_INVALID.
 */
export function openTlsKeys({ files, whose = "The edge", clock, log }: { files: KeyPairFiles; whose?: string; clock: Clock; log: Log }): TlsKeys {
  let pair = readPair(files);
  warnOfDates(pair, whose, clock, log);
  let lastProblem = "";
  let cancelSettle = () => {};
  let cancelPoll = () => {};
  const acts = new Set<() => void>();

  const reload = () => {
    cancelSettle();
    cancelPoll();
    cancelPoll = clock.after(POLL_MS, reload);
    try {
      const now = readPair(files);
      lastProblem = "";
      if (now.cert === pair.cert && now.key === pair.key) return;
      pair = now;
      warnOfDates(pair, whose, clock, log);
      log.info({ whose, ...datesOf(pair) }, "new certificate in use");
      for (const act of acts) act();
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      if (lastProblem !== error.message) log.warn({ err: error, whose }, "the changed certificate cannot be used; the previous one stays in use");
      lastProblem = error.message;
    }
  };

  // Folders, not files: writers often rename a new file over the old one, or change a symbolic link.
  const folders = new Set([dirname(files.cert), dirname(files.key)]);
  const watchers = [...folders].flatMap((folder) => {
    try {
      const watcher = watch(folder, { persistent: false }, () => {
        cancelSettle();
        cancelSettle = clock.after(SETTLE_MS, reload);
      });
      // The poll finds changes without it.
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

/** New connections to `server` use the current keys; open connections keep theirs. */
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
  // Only this checks the chain and refuses keys that are too short.
  parsed(() => createSecureContext({ cert, key }), files.cert, "a certificate, with its chain, that TLS accepts");
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

/** Without the cause, which may contain the content of the file. */
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

function warnOfDates(pair: KeyPairFiles, whose: string, clock: Clock, log: Log): void {
  const dates = { whose, ...datesOf(pair) };
  const [from, to] = [Date.parse(dates.validFrom), Date.parse(dates.validTo)];
  if (to < clock.now()) log.warn(dates, "the certificate has expired; clients refuse it");
  else if (from > clock.now()) log.warn(dates, "the certificate is not valid yet; clients refuse it");
  else if (to < clock.now() + EXPIRES_SOON_MS) log.warn(dates, "the certificate expires within a week");
}
