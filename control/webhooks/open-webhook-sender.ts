import { createHmac, randomBytes, randomUUID } from "node:crypto";
import { lookup, type LookupAddress } from "node:dns";
import type { LookupFunction } from "node:net";
import { retryDelay } from "../../lib/backoff.ts";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { type HttpStream, openHttpClient, retryAfterMs } from "../../lib/http-client.ts";
import type { Log } from "../../lib/log.ts";
import type { Metrics } from "../../lib/metrics/open-metrics.ts";
import { isRefusedHost } from "../../lib/refused-addresses.ts";
import { WEBHOOK_LIMITS, type Webhook, type WebhookDelivery, type WebhookSecret } from "../model/webhooks.ts";
import { type Vault, webhookContext } from "../packages/credentials/open-vault.ts";
import type { Store } from "../store/open-store.ts";
import { type AttemptResult, cloudEvent } from "../store/webhooks.ts";

/** Sends the events of the outbox to the webhooks. Only the leader does. */
export type WebhookSender = {
  start(): void;
  /** Sends one event of the type `webhook.test` at once, also to a webhook that is stopped, and keeps the outcome. Faults: WEBHOOK_NOT_FOUND. */
  test(webhookId: string): Promise<WebhookDelivery>;
  /** Aborts open requests: their events are sent again by the next process. */
  close(): Promise<void>;
};

export type WebhookSenderDeps = {
  store: Pick<Store, "id" | "webhooks">;
  vault: Pick<Vault, "open">;
  metrics: Pick<Metrics, "webhookAttempts" | "webhookDropped" | "webhookQueue" | "webhookOldestSeconds">;
  clock: Clock;
  log: Log;
  random?: () => number;
};

/** The subjects of its requests, from when the next one is sent (on the monotonic scale), and while it is paused, when its oldest event is dropped (epoch ms). */
type WebhookQueue = { busy: Set<string>; notBefore: number; expiresOn: number };

type AttemptOutcome = AttemptResult & { isDelivered: boolean; isGone: boolean; retryAfterMs: number };

const LIMITS = WEBHOOK_LIMITS;
/** After a failure of the store. */
const STORE_RETRY_MS = 5_000;
const LONGEST_FAILURE = 200;
/** For the end of a short response, whose status is known. */
const DISCARD_MS = 1_000;

export function openWebhookSender({ store, vault, metrics, clock, log, random }: WebhookSenderDeps): WebhookSender {
  const { webhooks } = store;
  const stop = new AbortController();
  const queues = new Map<string, WebhookQueue>();
  const sending = new Set<Promise<void>>();
  const client = openHttpClient({
    clock,
    maxBytes: LIMITS.maxBytes,
    timeoutMs: LIMITS.timeoutMs,
    options: { lookup: lookupAllowed },
    toFault: ({ why, cause }) => (cause instanceof AttemptFailure ? cause : new AttemptFailure(why)),
  });
  let isStarted = false;
  let pumping: Promise<void> | undefined;
  let isPumpDue = false;
  let cancelTimer = () => {};

  const attempt = async (webhook: Webhook, body: string, eventId: string): Promise<AttemptOutcome> => {
    const began = clock.monotonic();
    const over = (outcome: Partial<AttemptOutcome>): AttemptOutcome => ({
      triedOn: Math.trunc(clock.now()),
      ms: Math.round(clock.monotonic() - began),
      status: undefined,
      failure: undefined,
      isDelivered: false,
      isGone: false,
      retryAfterMs: 0,
      ...outcome,
    });
    try {
      const { url, secret } = JSON.parse(vault.open(webhookContext(webhook.id), webhook, "Webhooks")) as WebhookSecret;
      requireAllowedHost(new URL(url).hostname);
      const timestamp = Math.floor(clock.now() / 1_000);
      const reply = await client.stream({
        method: "POST",
        url,
        body,
        signal: stop.signal,
        headers: {
          "content-type": "application/cloudevents+json; charset=utf-8",
          "user-agent": "berth",
          "webhook-id": eventId,
          "webhook-timestamp": timestamp,
          "webhook-signature": sign(secret, { id: eventId, timestamp, body }),
        },
      });
      await discard(clock, reply);
      const { status } = reply;
      if (status >= 200 && status < 300) return over({ status, isDelivered: true });
      const why =
        status >= 300 && status < 400 ? `The receiver redirects with ${status}; berth follows no redirect.` : `The receiver answered ${status}.`;
      return over({
        status,
        failure: why,
        isGone: status === 410,
        retryAfterMs: status === 429 || status === 503 ? (retryAfterMs(reply, clock.now()) ?? 0) : 0,
      });
    } catch (error) {
      if (stop.signal.aborted) throw error;
      const isExpected = error instanceof Fault || error instanceof AttemptFailure;
      if (!isExpected) log.error({ err: error, webhook: webhook.id }, "webhook attempt failed unexpectedly");
      return over({ failure: isExpected ? error.message.slice(0, LONGEST_FAILURE) : "Internal error (bug)" });
    }
  };

  const settle = async (webhook: Webhook, row: WebhookDelivery, outcome: AttemptOutcome, queue: WebhookQueue): Promise<void> => {
    const { isDelivered, isGone, retryAfterMs: requestedMs, ...result } = outcome;
    const now = clock.now();
    if (isDelivered) {
      queue.notBefore = 0;
      return webhooks.end(webhook, row, result, { at: now, result: "delivered", stop: false });
    }
    const { id, url } = webhook;
    if (isGone) {
      log.warn({ webhook: id, url }, "webhook disabled by its receiver");
      return webhooks.markGone(webhook, row, result, now);
    }
    const failures = webhook.failures + 1;
    const isPaused = webhook.stopReason === undefined && failures >= LIMITS.failuresUntilPause;
    log.warn({ webhook: id, url, status: result.status, failures, reason: result.failure }, isPaused ? "webhook paused" : "webhook attempt failed");
    if (failures >= LIMITS.failuresUntilProbes)
      queue.notBefore = clock.monotonic() + retryDelay(LIMITS.probe, failures - LIMITS.failuresUntilProbes + 1, random);
    const notBefore = now + Math.max(requestedMs, retryDelay(LIMITS.retry, row.attempts + 1, random));
    const isLast = row.attempts + 1 >= LIMITS.attempts || notBefore > row.queuedOn + LIMITS.lifetimeMs;
    if (isLast) await webhooks.end(webhook, row, result, { at: now, result: "failed", stop: isPaused });
    else await webhooks.retry(webhook, row, result, { notBefore, stop: isPaused });
  };

  const send = async (webhook: Webhook, row: WebhookDelivery, queue: WebhookQueue): Promise<void> => {
    try {
      const outcome = await attempt(webhook, row.event, row.eventId);
      metrics.webhookAttempts.at(outcome.isDelivered ? "delivered" : "failed").add();
      // It may have been resumed or removed meanwhile.
      const now = (await webhooks.inMemory()).find((one) => one.webhook.id === webhook.id)?.webhook;
      if (now) await settle(now, row, outcome, queue);
    } catch (error) {
      if (stop.signal.aborted) return;
      // It is sent again, with the same id.
      log.error({ err: error, webhook: webhook.id }, "webhook outcome not stored");
      queue.notBefore = clock.monotonic() + STORE_RETRY_MS;
    } finally {
      queue.busy.delete(row.subject);
      pump();
    }
  };

  /** Of a paused webhook. Returns when the next event is to be dropped. */
  const dropExpired = async ({ id }: Webhook, queue: WebhookQueue): Promise<number> => {
    if (queue.busy.size > 0) return Infinity;
    if (queue.expiresOn <= clock.now()) {
      const oldestOn = await webhooks.dropOlder(id, clock.now() - LIMITS.lifetimeMs);
      if (oldestOn === undefined) return Infinity;
      // No event is older than this, whatever is stored meanwhile.
      queue.expiresOn = oldestOn + LIMITS.lifetimeMs + 1;
    }
    return queue.expiresOn;
  };

  /** Sends what is due to one webhook. Returns when the next event may be due: epoch ms, or Infinity. */
  const pumpOne = async (webhook: Webhook, waiting: number): Promise<number> => {
    const queue = queues.get(webhook.id) ?? { busy: new Set<string>(), notBefore: 0, expiresOn: 0 };
    queues.set(webhook.id, queue);
    const concurrency = webhook.failures >= LIMITS.failuresUntilProbes ? 1 : LIMITS.concurrency;
    // A request that ends sends what follows.
    if (queue.busy.size >= concurrency) return Infinity;
    if (webhook.stopReason !== undefined) return dropExpired(webhook, queue);
    const probeMs = queue.notBefore - clock.monotonic();
    if (probeMs > 0) return clock.now() + probeMs;
    const heads = await webhooks.heads(webhook.id, [...queue.busy], concurrency - queue.busy.size + 1);
    if (heads.length === 0 && queue.busy.size === 0 && waiting > 0) webhooks.recount();
    let next = Infinity;
    for (const row of heads) {
      if (queue.busy.size >= concurrency || stop.signal.aborted) return Infinity;
      const now = clock.now();
      if (row.queuedOn + LIMITS.lifetimeMs < now) {
        await webhooks.end(webhook, row, undefined, { at: now, result: "failed", stop: false });
        continue;
      }
      // Tried in the future: the clock was set back, and the pause has passed already or soon will.
      const isAfterSetBack = row.triedOn !== undefined && row.triedOn > now;
      if (row.notBefore > now && !isAfterSetBack) {
        next = Math.min(next, row.notBefore);
        continue;
      }
      queue.busy.add(row.subject);
      const sent = send(webhook, row, queue).finally(() => sending.delete(sent));
      sending.add(sent);
    }
    return next;
  };
  const pass = async (): Promise<void> => {
    cancelTimer();
    const all = await webhooks.inMemory();
    const ids = new Set(all.map(({ webhook }) => webhook.id));
    for (const id of queues.keys()) if (!ids.has(id)) queues.delete(id);
    const times = await Promise.all(all.map(async ({ webhook, waiting }) => (waiting === 0 ? Infinity : pumpOne(webhook, waiting))));
    const next = Math.min(...times);
    if (next < Infinity && !stop.signal.aborted) cancelTimer = clock.after(Math.max(1, next - clock.now()), pump);
  };
  const pump = (): void => {
    isPumpDue = true;
    if (!isStarted || stop.signal.aborted) return;
    pumping ??= (async () => {
      while (isPumpDue && !stop.signal.aborted) {
        isPumpDue = false;
        await pass();
      }
    })()
      .catch((error: unknown) => {
        if (stop.signal.aborted) return;
        log.error({ err: error }, "webhook queue not read");
        cancelTimer = clock.after(STORE_RETRY_MS, pump);
      })
      .finally(() => {
        pumping = undefined;
        if (isPumpDue) setImmediate(pump);
      });
  };

  webhooks.watch({ changed: pump, dropped: (_id, count) => metrics.webhookDropped.at().add(count) });
  metrics.webhookQueue.look(async (family) => {
    for (const { webhook, waiting } of await webhooks.inMemory()) family.at(webhook.id).set(waiting);
  });
  metrics.webhookOldestSeconds.look(async (family) => {
    if ((await webhooks.inMemory()).every(({ waiting }) => waiting === 0)) return;
    for (const [id, since] of await webhooks.oldest()) family.at(id).set(Math.max(0, clock.now() - since) / 1_000);
  });

  return {
    start: () => {
      isStarted = true;
      pump();
    },
    test: async (webhookId) => {
      const webhook = await webhooks.find(webhookId);
      if (!webhook) throw webhookNotFound(webhookId);
      const at = clock.now();
      const [id, subject, type] = [randomUUID(), `webhooks/${webhookId}`, "webhook.test"] as const;
      const event = cloudEvent({ id, storeId: store.id, type, subject, at, data: { message: "This is a test of the webhook." } });
      const { isDelivered, isGone: _gone, retryAfterMs: _later, ...result } = await attempt(webhook, event, id);
      return webhooks.recordEnded({
        id: randomUUID(),
        webhookId,
        type,
        subject,
        eventId: id,
        event,
        queuedOn: Math.trunc(at),
        attempts: 1,
        notBefore: 0,
        endedOn: Math.trunc(clock.now()),
        result: isDelivered ? "delivered" : "failed",
        ...result,
      });
    },
    close: async () => {
      stop.abort(new Error("the sender of webhooks is closed"));
      cancelTimer();
      client.close();
      await pumping;
      await Promise.all(sending);
    },
  };
}

export function webhookNotFound(id: string): Fault {
  return new Fault("WEBHOOK_NOT_FOUND", `There is no webhook ${id}: berth webhooks ls lists all.`);
}

const SECRET_PREFIX = "whsec_";
/** Of a secret, in bytes: as the specification has it. */
const SECRET_BYTES = { least: 24, most: 64, own: 32 };

export function newWebhookSecret(): string {
  return SECRET_PREFIX + randomBytes(SECRET_BYTES.own).toString("base64");
}

export function isWebhookSecret(text: string): boolean {
  if (!/^whsec_[A-Za-z0-9+/]+={0,2}$/.test(text)) return false;
  const { length } = secretBytes(text);
  return length >= SECRET_BYTES.least && length <= SECRET_BYTES.most;
}

function secretBytes(secret: string): Buffer {
  return Buffer.from(secret.slice(SECRET_PREFIX.length), "base64");
}

/** The value of `webhook-signature`. Source: the specification of Standard Webhooks, "Signature scheme". */
export function sign(secret: string, { id, timestamp, body }: { id: string; timestamp: number; body: string }): string {
  return `v1,${createHmac("sha256", secretBytes(secret)).update(`${id}.${timestamp}.${body}`).digest("base64")}`;
}

/** Why there is no response, without the URL. */
class AttemptFailure extends Error {}

/** The address is checked where the connection is opened, so a name cannot have another one a moment later. */
const lookupAllowed: LookupFunction = (hostname, options, done) => {
  lookup(hostname, { ...options, all: true }, (error, addresses: LookupAddress[]) => {
    if (error) return done(error, "");
    const refused = addresses.find(({ address }) => isRefusedHost(address));
    const [first] = addresses;
    if (refused) return done(new AttemptFailure(refusal(`${hostname} has the address ${refused.address}`)), "");
    if (options.all) done(null, addresses);
    else done(null, first?.address ?? "", first?.family ?? 4);
  });
};

function refusal(what: string): string {
  return `${what}, which is link-local or of a metadata server: berth sends nothing there.`;
}

/** An address needs no look-up. */
function requireAllowedHost(hostname: string): void {
  const host = hostname.replace(/^\[|\]$/g, "");
  if (isRefusedHost(host)) throw new AttemptFailure(refusal(host));
}

/** The address of a new webhook. Faults: REQUEST_INVALID, without the address, whose query may hold a secret. */
export function parseWebhookUrl(text: string): URL {
  const url = URL.parse(text);
  const invalid = (why: string) => new Fault("REQUEST_INVALID", `The webhook's URL is not valid: ${why}`);
  if (!url || !/^https?:$/.test(url.protocol)) throw invalid("it must begin with https:// or http://.");
  if (url.username !== "" || url.password !== "") throw invalid("it has a user or a password. Receivers verify the signature instead.");
  if (isRefusedHost(url.hostname.replace(/^\[|\]$/g, ""))) throw invalid(refusal(url.hostname));
  url.hash = "";
  return url;
}

/** Reads a short body, so that the receiver can end its response; of a longer one no more than the limit. */
async function discard(clock: Clock, { read, stream }: HttpStream): Promise<void> {
  const cancel = clock.after(DISCARD_MS, () => stream.destroy());
  await read().catch(() => undefined);
  cancel();
}
