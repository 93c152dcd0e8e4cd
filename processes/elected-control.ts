import { randomUUID } from "node:crypto";
import { chmodSync, rmSync } from "node:fs";
import { createServer, type RequestListener } from "node:http";
import { hostname } from "node:os";
import { REQUEST_TIMEOUT_MS } from "../control/api/open-api.ts";
import { createLeaderWait, createNotLeadingAnswer, createStandbyAnswer } from "../control/api/standby.ts";
import { answerUpgrades, isApiUpgrade } from "../control/api/upgrades.ts";
import { openLeaderDatabase } from "../control/leadership/leader-database.ts";
import { type LeaderTerm, openLeadership } from "../control/leadership/open-leadership.ts";
import { endedHolder, noteHolder } from "../control/leadership/predecessor.ts";
import { openStandbyStore } from "../control/leadership/standby-store.ts";
import { openSharedFolderReader } from "../control/identity/shared-folder.ts";
import { loadKeys, openKeyFile } from "../control/packages/credentials/key-file.ts";
import { makeFolder } from "../lib/make-folder.ts";
import { parsePostgresAddress, type PostgresOptions } from "../control/store/postgres/address.ts";
import type { Settings } from "../conf/settings.ts";
import { Fault } from "../lib/fault.ts";
import { bindEntrance, configuredKeys, openControlListeners } from "./control-listeners.ts";
import { type LeadingControl, type LeadingControlOptions, openLeadingControl } from "./leading-control.ts";
import { portOf } from "./listeners.ts";
import type { StoppableProcess } from "./parent.ts";

/** At a hand-over, driver calls may take so long to end. What they do after that, the next leader finds and repairs. */
const HANDOVER_MS = 1_000;
/** A process that does not lead any more ends within this time, whatever its parts do. */
const END_MS = 5_000;
/** For a connect, and for each query of the status. */
const STATUS_MS = 2_000;
/** After a failure of the leader's parts, which another process may not have. */
const FAILED_MS = 2_000;

/**
 * A control process that shares a database with others. It is a standby until it leads: its code is loaded, its listeners answer, its connection is open.
 * A process leads once. When it stops leading, it ends, and its supervisor starts it again: so no part of it has to forget what it knew.
 */
export async function runElectedControl(
  options: LeadingControlOptions,
  postgres: PostgresOptions,
): Promise<StoppableProcess & { ended: Promise<void> }> {
  const { settings, runtime, version, metrics, clock, log } = options;
  const leaseMs = settings.database.leaseSeconds * 1_000;
  makeFolder(settings.data);
  const keys = loadKeys(configuredKeys(settings), openKeyFile(settings.data));
  const sharedFolder = await openSharedFolderReader({ postgres, folder: settings.data, keys, clock });
  const entranceAt = await bindEntrance(settings, clock, log);
  const self = { id: randomUUID(), name: hostname(), url: entranceUrl(settings, entranceAt && portOf(entranceAt.handle)), version };
  const address = parsePostgresAddress(postgres);
  const database = openLeaderDatabase(address, { timeoutMs: leaseMs / 4, clock });
  const openStatusDatabase = () => openLeaderDatabase(address, { timeoutMs: STATUS_MS, clock, purpose: "status", isListening: false });
  const leadership = openLeadership({ database, openStatusDatabase, self, leaseMs, clock, log });
  const answerAsStandby = createStandbyAnswer(leadership.lastLeader);
  const answerNotLeading = createNotLeadingAnswer(answerAsStandby);
  /** The process before this one may have ended without a word: its lease need not be waited for. */
  const locked = () => {
    const holder = endedHolder(settings.data);
    if (holder !== undefined) leadership.releaseOf(holder).catch((err: unknown) => log.debug({ err, holder }, "lease not released: it expires"));
  };
  const standbyStore = openStandbyStore({ folder: settings.data, postgres, clock, metrics, log, locked });
  const stop = new AbortController();
  const ended = Promise.withResolvers<void>();
  let current: { term: LeaderTerm; control: LeadingControl } | undefined;
  /** Acquired, whether or not its parts are open yet. */
  let acquired: LeaderTerm | undefined;
  /** While it stops, it answers the API, and no gateway any more. */
  let mode: "standby" | "leading" | "stopping" = "standby";
  let hasEnded = false;
  const isLeading = () => mode === "leading";
  const wait = createLeaderWait({ leader: leadership.lastLeader, isLeading, selfUrl: self.url, clock });
  leadership.watch(wait.changed);
  metrics.leading.look((family) => family.at().set(isLeading() ? 1 : 0));
  metrics.leaderEpoch.look((family) => family.at().set(isLeading() ? (current?.term.epoch ?? 0) : 0));

  /** Gateways call the API of a leader before it is open; then their calls wait. */
  const answerApi: RequestListener = (request, response) => {
    (current === undefined || hasEnded ? answerNotLeading : current.control.api)(request, response);
  };
  const closeApiSocket = await openOwnSocket(runtime.apiSocket, answerApi);
  let closeFeedSocket = await openOwnSocket(runtime.feedSocket, answerAsStandby);
  const listeners = await openControlListeners(
    { ...options, entranceAt },
    () => ({ feed: mode === "leading" && current ? current.control.feed : answerAsStandby, api: answerApi }),
    () => (mode === "standby" ? { answer: answerAsStandby, api: answerApi, laterThan: wait.laterThan } : undefined),
  );

  const lead = async (term: LeaderTerm): Promise<void> => {
    const store = await standbyStore.lead(term.fence);
    noteHolder(settings.data, self.id);
    const part = { epoch: term.epoch, check: term.check, status: leadership.status, stepDown: () => void handOver(), answerNotLeading };
    await closeFeedSocket();
    closeFeedSocket = async () => undefined;
    const control = await openLeadingControl(options, store, part);
    current = { term, control };
    // It was stopped, or has lost its lease, while its parts were opened.
    term.ended.throwIfAborted();
    await control.start();
    term.ended.throwIfAborted();
    mode = "leading";
    log.info({ epoch: term.epoch }, "this control process leads");
    wait.changed();
    await control.openApi();
    log.info({ epoch: term.epoch }, "the api is open");
  };

  let stopping: Promise<void> | undefined;
  /** Ends what acts. `within`: how long it may take until another process may lead. */
  const stopActing = async (withinMs: number, meanwhile: typeof mode) => {
    mode = meanwhile;
    hasEnded = meanwhile === "standby";
    stopping ??= current?.control.stopActing().catch((err: unknown) => log.warn({ err }, "parts of the leader did not end in order"));
    await Promise.race([stopping, clock.sleep(withinMs)]);
    mode = "standby";
    hasEnded = true;
  };
  let handing: Promise<void> | undefined;
  const handOver = () => {
    handing ??= (async () => {
      const { term } = current ?? {};
      await stopActing(HANDOVER_MS, "stopping");
      await term?.release();
      ended.resolve();
    })();
    return handing;
  };

  const run = async () => {
    while (!stop.signal.aborted) {
      const term = await leadership.acquire(stop.signal);
      acquired = term;
      try {
        term.ended.addEventListener("abort", () => void (handing ?? stopActing(END_MS, "standby").then(ended.resolve)), { once: true });
        await lead(term);
        return;
      } catch (error) {
        if (!stop.signal.aborted) log.error({ err: error, epoch: term.epoch }, "this control process cannot lead");
        await stopActing(HANDOVER_MS, "standby");
        await term.release();
        // Half-open parts cannot be opened again.
        await clock.sleep(FAILED_MS, stop.signal).catch(() => undefined);
        return ended.resolve();
      }
    }
  };
  const running = run().catch((error: unknown) => {
    if (!stop.signal.aborted) log.error({ err: error }, "unexpected error");
    ended.resolve();
  });

  return {
    ended: ended.promise,
    close: async () => {
      // Whatever hangs: a process that led must not live on.
      const cancel = clock.after(END_MS, () => process.exit(1));
      stop.abort(new Fault("CONTROL_STANDBY", "This control process ends."));
      if (current && !current.term.ended.aborted) await handOver();
      // Nothing acts before its parts are open: another process may lead at once.
      else if (acquired && !acquired.ended.aborted) await acquired.release();
      await running;
      await listeners.close();
      await Promise.all([closeApiSocket(), closeFeedSocket()]);
      await standbyStore.close().catch((err: unknown) => log.warn({ err }, "the standby's store was not closed"));
      await current?.control.close().catch((err: unknown) => log.warn({ err }, "parts of the leader did not end in order"));
      await leadership.close();
      await sharedFolder.close();
      cancel();
    },
  };
}

/** At which gateways reach this process; empty: at none. */
function entranceUrl({ gateways }: Settings, port: number | undefined): string {
  if (gateways.url !== undefined) return gateways.url;
  if (port === undefined) return "";
  const { host, tlsCert } = gateways;
  const name = host === "0.0.0.0" || host === "::" ? hostname() : host;
  return `${tlsCert === undefined ? "http" : "https"}://${name.includes(":") ? `[${name}]` : name}:${port}`;
}

/** Longer than gateways keep an idle connection. */
const IDLE_MS = 72_000;

/** A socket for the processes on this machine. Returns what closes it, with its connections. */
async function openOwnSocket(path: string, answer: RequestListener): Promise<() => Promise<void>> {
  rmSync(path, { force: true });
  const server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS, keepAliveTimeout: IDLE_MS, shouldUpgradeCallback: isApiUpgrade }, answer);
  answerUpgrades(server, answer);
  // For this user only from the first moment, not only after `chmod`.
  const mask = process.umask(0o177);
  const listening = new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, resolve);
  });
  process.umask(mask);
  await listening;
  chmodSync(path, 0o600);
  return () => {
    const closed = new Promise<void>((resolve) => void server.close(() => resolve()));
    server.closeAllConnections();
    return closed;
  };
}
