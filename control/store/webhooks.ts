import { randomUUID } from "node:crypto";
import { sql } from "kysely";
import type { Sealed } from "../model/records.ts";
import { acceptsType, EVENT_PREFIX, type EventType, WEBHOOK_LIMITS, type Webhook, type WebhookDelivery } from "../model/webhooks.ts";
import { createEntityTable } from "./entity-table.ts";
import type { Queries } from "./queries.ts";

export type Webhooks = ReturnType<typeof createWebhooks>;

/** A change that webhooks report. `data` is called only if one does, in the transaction of the change. */
export type ChangeEvent = {
  type: EventType;
  /** What changed, e.g. `containers/<id>`: events of one subject are sent in their order. */
  subject: string;
  at: number;
  packageId: string | undefined;
  /** It contains neither secrets nor log lines. */
  data(packageName: string | undefined): object | Promise<object>;
};

/** How an attempt ended. */
export type AttemptResult = Pick<WebhookDelivery, "triedOn" | "status" | "ms" | "failure">;

/** What this process knows of the rows: only the leader writes them. `waiting`: how many events wait, by webhook. */
type OutboxState = { webhooks: Webhook[]; waiting: Map<string, number> };

const { waiting: MOST_WAITING, waitingInAll: MOST_IN_ALL, ended: MOST_ENDED } = WEBHOOK_LIMITS;

/**
 * Webhooks, and the outbox of their events. Events are written in the transaction of the change that they report, so a crash loses none. Without a webhook
 * nothing is read or written.
 */
export function createWebhooks(queries: Queries, storeId: string) {
  const { builder, database, dialect, enqueue, run, select } = queries;
  const webhooks = createEntityTable(queries, "webhooks", "id");
  const deliveries = createEntityTable(queries, "webhook_deliveries", "id");
  const all = webhooks.list((query) => query.orderBy("created_on").orderBy("id"));
  const waitingCounts = select(() =>
    builder
      .selectFrom("webhook_deliveries")
      .select((of) => ["webhook_id as webhookId", of.fn.countAll<number>().as("count")])
      .where("ended_on", "is", null)
      .groupBy("webhook_id"),
  );
  const lastSeq = select(() => builder.selectFrom("webhook_deliveries").select((of) => of.fn.max("seq").as("seq")));
  const oldest = select(() =>
    builder
      .selectFrom("webhook_deliveries")
      .select((of) => ["webhook_id as webhookId", of.fn.min("queued_on").as("at")])
      .where("ended_on", "is", null)
      .groupBy("webhook_id"),
  );
  /** The first of each subject, those that are due the longest first. */
  const heads = deliveries.list((query, values: { webhookId: string; busy: string; limit: number }) =>
    query
      .where("webhook_id", "=", values.webhookId)
      .where("ended_on", "is", null)
      .where("subject", "not in", dialect.elements(values.busy))
      .where(
        sql<boolean>`not exists (select 1 from webhook_deliveries as earlier where earlier.webhook_id = webhook_deliveries.webhook_id
          and earlier.subject = webhook_deliveries.subject and earlier.ended_on is null and earlier.seq < webhook_deliveries.seq)`,
      )
      .orderBy("not_before")
      .orderBy("seq")
      .limit(values.limit),
  );
  const latest = deliveries.list((query, values: { webhookId: string; limit: number }) =>
    query.where("webhook_id", "=", values.webhookId).orderBy("seq", "desc").limit(values.limit),
  );
  const addDropped = enqueue((values: { id: string; count: number }) =>
    builder
      .updateTable("webhooks")
      .set({ dropped: sql<number>`dropped + ${values.count}` })
      .where("id", "=", values.id),
  );
  const removeOldEnded = run((values: { webhookId: string }) =>
    builder
      .deleteFrom("webhook_deliveries")
      .where("webhook_id", "=", values.webhookId)
      .where("ended_on", "is not", null)
      .where("seq", "<=", (of) =>
        of
          .selectFrom("webhook_deliveries")
          .select("seq")
          .where("webhook_id", "=", values.webhookId)
          .where("ended_on", "is not", null)
          .orderBy("seq", "desc")
          .limit(1)
          .offset(MOST_ENDED),
      ),
  );
  const removeWaiting = run((values: { webhookId: string }) =>
    builder.deleteFrom("webhook_deliveries").where("webhook_id", "=", values.webhookId).where("ended_on", "is", null),
  );
  const removeOlder = run((values: { webhookId: string; before: number }) =>
    builder
      .deleteFrom("webhook_deliveries")
      .where("webhook_id", "=", values.webhookId)
      .where("ended_on", "is", null)
      .where("queued_on", "<", values.before),
  );
  /** Rows of a webhook that was removed while the transaction of a change was under way: no key keeps that change from being stored. */
  const removeUnowned = run(() =>
    builder.deleteFrom("webhook_deliveries").where("webhook_id", "not in", builder.selectFrom("webhooks").select("id")),
  );
  const packageName = select((values: { id: string }) => builder.selectFrom("packages").select("name").where("id", "=", values.id));

  let state: OutboxState | undefined;
  let loading: Promise<OutboxState> | undefined;
  /** Of the newest row that this process wrote or read. */
  let seq = 0;
  let changed = () => {};
  let dropped = (_webhookId: string, _count: number) => {};

  const load = async (): Promise<OutboxState> => {
    const [rows, counts, [last]] = await Promise.all([all({}), waitingCounts({}), lastSeq({})]);
    seq = Math.max(seq, last?.seq ?? 0);
    return { webhooks: rows, waiting: new Map(counts.map(({ webhookId, count }) => [webhookId, count])) };
  };
  const current = async (): Promise<OutboxState> => {
    if (state) return state;
    const mine = (loading ??= load());
    const loaded = await mine;
    // Something was written meanwhile: it is loaded anew.
    if (loading !== mine) return current();
    loading = undefined;
    return (state ??= loaded);
  };
  const forget = () => {
    state = undefined;
    loading = undefined;
  };
  /** Call it after a write of webhooks: they are read again, also by what joins this transaction's commit. */
  const rewritten = <R>(result: R): R => {
    forget();
    database.afterCommit(() => {
      forget();
      changed();
    });
    return result;
  };
  const waits = (webhookId: string, by: number) =>
    database.afterCommit(() => {
      if (state) state.waiting.set(webhookId, Math.max(0, (state.waiting.get(webhookId) ?? 0) + by));
      // What is being loaded may have been read before this.
      else loading = undefined;
      changed();
    });
  const drop = async (webhookId: string, count: number) => {
    if (count === 0) return;
    await addDropped({ id: webhookId, count });
    database.afterCommit(() => {
      const webhook = state?.webhooks.find(({ id }) => id === webhookId);
      if (webhook) webhook.dropped += count;
      dropped(webhookId, count);
    });
  };

  return {
    /** The oldest first. */
    all: () => all({}),
    /** As this process knows them, without a query if possible; with the number of events that wait. */
    inMemory: async () => {
      const { webhooks: rows, waiting } = await current();
      return rows.map((webhook) => ({ webhook, waiting: waiting.get(webhook.id) ?? 0 }));
    },
    /** How many events wait, by webhook. */
    waiting: async (): Promise<ReadonlyMap<string, number>> => (await current()).waiting,
    find: webhooks.find,
    insert: (webhook: Webhook) => database.transaction(async () => rewritten(await webhooks.insert(webhook))),
    reseal: (id: string, { keyId, box }: Sealed) => database.transaction(async () => rewritten(await webhooks.update(id, { keyId, box }))),
    /** With its events. False: there was none. */
    remove: (id: string) =>
      database.transaction(async () => {
        const isRemoved = rewritten(await webhooks.remove(id));
        await removeUnowned({});
        return isRemoved;
      }),
    /** Sends events to it again. */
    resume: (id: string) =>
      database.transaction(async () => rewritten(await webhooks.update(id, { failures: 0, stoppedOn: undefined, stopReason: undefined }))),
    /** Call it in the transaction of the change. */
    record: async ({ type, subject, at, packageId, data }: ChangeEvent): Promise<void> => {
      const outbox = await current();
      const open = outbox.webhooks.filter(({ eventTypes, stopReason }) => stopReason !== "gone" && acceptsType(eventTypes, type));
      if (open.length === 0) return;
      const name = packageId === undefined ? undefined : (await packageName({ id: packageId }))[0]?.name;
      const receivers = open.filter(({ packageName: only }) => only === undefined || only === name);
      if (receivers.length === 0) return;
      // It is sent as soon as it is committed.
      database.requireDurable();
      const now = Math.trunc(at);
      // Epoch ms before the first: numbers stay in order although ended rows are removed.
      seq = Math.max(seq + 1, now);
      const eventId = randomUUID();
      const event = cloudEvent({ id: eventId, storeId, type, subject, at: now, seq, data: await data(name) });
      // Equal parts, so that webhooks whose receivers are away do not take the place of others' events.
      const most = Math.min(MOST_WAITING, Math.floor(MOST_IN_ALL / outbox.webhooks.filter(({ stopReason }) => stopReason !== "gone").length));
      for (const { id: webhookId } of receivers) {
        if ((outbox.waiting.get(webhookId) ?? 0) >= most) {
          await drop(webhookId, 1);
          continue;
        }
        const row = { ...NEW_DELIVERY, seq: seq++, id: randomUUID(), webhookId, type, subject, eventId, event, queuedOn: now };
        await deliveries.enqueueInsert(row);
        waits(webhookId, 1);
      }
    },
    /** A delivery that ended at once: that of a test. */
    recordEnded: async (delivery: Omit<WebhookDelivery, "seq">): Promise<WebhookDelivery> => {
      await current();
      return database.transaction(async () => {
        seq = Math.max(seq + 1, Math.trunc(delivery.queuedOn));
        const row = await deliveries.insert({ ...delivery, seq });
        await removeOldEnded({ webhookId: delivery.webhookId });
        return row;
      });
    },
    /** The first waiting event of each subject but `busy`, those that are due the longest first. */
    heads: (webhookId: string, busy: readonly string[], limit: number) => heads({ webhookId, busy: JSON.stringify(busy), limit }),
    /** Since when the oldest event of each webhook waits, by its id; epoch ms. */
    oldest: async () => new Map((await oldest({})).map(({ webhookId, at }) => [webhookId, at])),
    /** The newest first. */
    latest: (webhookId: string, limit: number) => latest({ webhookId, limit }),
    findDelivery: deliveries.find,
    /** The event is sent again, as if it were new. Undefined: there is no such delivery, or it waits already. */
    redeliver: (id: string, now: number) =>
      database.transaction(async () => {
        const row = await deliveries.find(id);
        if (row?.endedOn === undefined) return undefined;
        const queued = await deliveries.update(id, { ...NEW_DELIVERY, queuedOn: Math.trunc(now) });
        waits(row.webhookId, 1);
        return queued;
      }),
    /** One attempt failed, and another follows. */
    retry: (webhook: Webhook, row: WebhookDelivery, attempt: AttemptResult, { notBefore, stop }: { notBefore: number; stop: boolean }) =>
      database.transaction(async () => {
        await deliveries.update(row.id, { ...attempt, attempts: row.attempts + 1, notBefore: Math.trunc(notBefore) });
        await countFailure(webhook, attempt.triedOn ?? 0, stop);
      }),
    /** The last attempt is over. */
    end: (
      webhook: Webhook,
      row: WebhookDelivery,
      attempt: AttemptResult | undefined,
      { at, result, stop }: { at: number; result: "delivered" | "failed"; stop: boolean },
    ) =>
      database.transaction(async () => {
        const tried = attempt ? { ...attempt, attempts: row.attempts + 1 } : { failure: row.failure ?? "not sent in time" };
        const ended = await deliveries.update(row.id, { ...tried, endedOn: Math.trunc(at), result });
        if (!ended) return;
        waits(row.webhookId, -1);
        await removeOldEnded({ webhookId: row.webhookId });
        if (result === "delivered") {
          if (webhook.failures === 0) return;
          await webhooks.update(webhook.id, { failures: 0 });
          database.afterCommit(() => void (webhook.failures = 0));
        } else if (attempt) await countFailure(webhook, at, stop);
      }),
    /** Drops the waiting events that are older. Returns since when the oldest of the others waits: epoch ms; undefined if there are none. */
    dropOlder: (id: string, before: number): Promise<number | undefined> =>
      database.transaction(async () => {
        const count = await removeOlder({ webhookId: id, before: Math.trunc(before) });
        if (count > 0) waits(id, -count);
        await drop(id, count);
        return (await oldest({})).find(({ webhookId }) => webhookId === id)?.at;
      }),
    /** Its receiver wants no more: the events that wait are dropped. */
    markGone: (webhook: Webhook, row: WebhookDelivery, attempt: AttemptResult, at: number) =>
      database.transaction(async () => {
        await deliveries.update(row.id, { ...attempt, attempts: row.attempts + 1, endedOn: Math.trunc(at), result: "failed" });
        const count = await removeWaiting({ webhookId: webhook.id });
        await webhooks.update(webhook.id, { failures: webhook.failures + 1, stoppedOn: Math.trunc(at), stopReason: "gone" });
        await drop(webhook.id, count);
        rewritten(undefined);
      }),
    /** Calls `on.changed` after each write that the sender may have to act on, and `on.dropped` for events that are not sent. */
    watch: (on: { changed(): void; dropped(webhookId: string, count: number): void }) => {
      ({ changed, dropped } = on);
    },
    /** The counts of waiting events are read again. */
    recount: forget,
    /** What was written before this process had the store. */
    takeOver: async () => {
      forget();
      if ((await current()).webhooks.length === 0) return;
      await removeUnowned({});
    },
  };

  async function countFailure(webhook: Webhook, at: number, stop: boolean): Promise<void> {
    const failures = webhook.failures + 1;
    const stopped = stop ? ({ stoppedOn: Math.trunc(at), stopReason: "failures" } as const) : {};
    await webhooks.update(webhook.id, { failures, ...stopped });
    database.afterCommit(() => void Object.assign(webhook, { failures, ...stopped }));
  }
}

const NEW_DELIVERY = {
  attempts: 0,
  notBefore: 0,
  endedOn: undefined,
  result: undefined,
  triedOn: undefined,
  status: undefined,
  ms: undefined,
  failure: undefined,
} as const satisfies Partial<WebhookDelivery>;

type CloudEventParts = { id: string; storeId: string; type: EventType | "webhook.test"; subject: string; at: number; seq?: number; data: object };

/** CloudEvents 1.0.2 in the JSON format. `sequence` is an extension of the specification: of two events of a subject, the later one has the larger text. */
export function cloudEvent({ id, storeId, type, subject, at, seq, data }: CloudEventParts): string {
  return JSON.stringify({
    specversion: "1.0",
    id,
    source: `urn:uuid:${storeId}`,
    type: EVENT_PREFIX + type,
    subject,
    time: new Date(at).toISOString(),
    datacontenttype: "application/json",
    ...(seq === undefined ? {} : { sequence: String(seq).padStart(16, "0") }),
    data,
  });
}
