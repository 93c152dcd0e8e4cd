import { once } from "node:events";
import { Client } from "pg";
import t, { type Test } from "tap";
import { openLeaderDatabase } from "../../../control/leadership/leader-database.ts";
import { type Leadership, type LeaderTerm, openLeadership } from "../../../control/leadership/open-leadership.ts";
import { openStore } from "../../../control/store/open-store.ts";
import { parsePostgresAddress, type PostgresOptions } from "../../../control/store/postgres/address.ts";
import { systemClock } from "../../../lib/clock.ts";
import { openLog } from "../../../lib/log.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { startPostgres } from "../../fixtures/postgres.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";

const LEASE_MS = 1_500;
const clock = systemClock();
const log = openLog({ level: "silent", name: "test" });
const NEVER = new AbortController().signal;

/** One control process's part in the election. Each has a clock of its own, which a test may stop. */
function openMember(t: Test, postgres: PostgresOptions, id: string, itsClock = clock, leaseMs = LEASE_MS): Leadership {
  const address = parsePostgresAddress(postgres);
  const database = openLeaderDatabase(address, { timeoutMs: leaseMs / 3, clock });
  const openStatusDatabase = () => openLeaderDatabase(address, { timeoutMs: 30_000, clock, purpose: "status", isListening: false });
  const self = { id, name: `machine-${id}`, url: `https://${id}.internal:8443`, version: "1.2.3" };
  const leadership = openLeadership({ database, openStatusDatabase, self, leaseMs, clock: itsClock, log });
  t.teardown(() => leadership.close());
  return leadership;
}

const endOf = (term: LeaderTerm) => (term.ended.aborted ? Promise.resolve() : once(term.ended, "abort"));
const since = (from: number) => clock.monotonic() - from;

t.test("leadership", async (t) => {
  const server = await startPostgres(t);

  t.test("one of several leads, and the next one when it releases its lease, in the order of epochs", async (t) => {
    const postgres = await server.database();
    const members = ["a", "b", "c"].map((id) => openMember(t, postgres, id));
    const held: string[] = [];
    const terms = await Promise.all(
      members.map(async (member) => {
        const term = await member.acquire(NEVER);
        held.push(member.self.id);
        t.equal(term.epoch, held.length);
        // Longer than a lease: it is renewed.
        await clock.sleep(LEASE_MS * 1.2);
        t.doesNotThrow(() => term.check());
        t.equal(held.length, term.epoch, "no other one leads meanwhile");
        await term.release();
        t.throws(() => term.check(), { code: "CONTROL_STANDBY" });
        return term;
      }),
    );
    t.same(
      terms.map(({ epoch }) => epoch).toSorted((a, b) => a - b),
      [1, 2, 3],
    );
    t.same(held.toSorted(), ["a", "b", "c"]);
  });

  t.test("a hand-over takes a fraction of a second, by notification", async (t) => {
    const postgres = await server.database();
    const [first, second] = [openMember(t, postgres, "a"), openMember(t, postgres, "b")];
    const term = await first.acquire(NEVER);
    const next = second.acquire(NEVER);
    await eventually("the standby to know the leader", () => second.lastLeader().url === "https://a.internal:8443");
    const from = clock.monotonic();
    await term.release();
    await next;
    t.ok(since(from) < 500, `${since(from)} ms`);
    const status = await second.status();
    t.match(status, { epoch: 2, leader: "b", database: { name: /127.0.0.1/ } });
    t.same(status.processes.map(({ id }) => id).toSorted(), ["a", "b"]);
  });

  t.test("a status that is slow, or that fails, delays and ends no renewal", async (t) => {
    const postgres = await server.database();
    const member = openMember(t, postgres, "a", clock, 6_000);
    const term = await member.acquire(NEVER);
    const expiry = async () => (await server.query("SELECT expires_at::text AS at FROM leadership", postgres.url))[0]?.["at"];
    const renewed = async () => {
      const before = await expiry();
      await eventually("a renewal", async () => (await expiry()) !== before);
    };
    const backends = async (name: string) =>
      (await server.query(`SELECT pid, wait_event_type AS waits FROM pg_stat_activity WHERE application_name = '${name}'`, postgres.url)) as {
        pid: number;
        waits: string | null;
      }[];
    const [elected] = await backends("berth leadership");
    const other = new Client({ connectionString: postgres.url });
    await other.connect();
    t.teardown(() => other.end());
    // Makes only the status slow, which shares each table with the renewal.
    await other.query(`CREATE FUNCTION wait() RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
        IF current_setting('application_name') = 'berth status' THEN PERFORM pg_advisory_xact_lock(1); END IF;
        RETURN true;
      END $$;
      ALTER TABLE control_processes RENAME TO hidden;
      CREATE VIEW control_processes AS SELECT * FROM hidden WHERE wait();
      SELECT pg_advisory_lock(1)`);
    const statuses = [member.status(), member.status()];
    const rejected = Promise.all(statuses.map((status) => t.rejects(status, { code: "STORE_UNAVAILABLE" })));
    const [slow, ...more] = await eventually("the status waits in the database", async () => {
      const waiting = (await backends("berth status")).filter(({ waits }) => waits === "Lock");
      return waiting.length > 0 && waiting;
    });
    t.same(more, [], "both look together");
    await renewed();
    await server.query(`SELECT pg_terminate_backend(${slow?.pid})`);
    await rejected;
    await renewed();
    await other.query("SELECT pg_advisory_unlock(1)");
    t.match(await member.status(), { leader: "a", epoch: 1, processes: [{ id: "a" }] });
    t.doesNotThrow(() => term.check());
    t.same(
      (await backends("berth leadership")).map(({ pid }) => pid),
      [elected?.pid],
      "the connection of the election is the same",
    );
    await eventually("that of the status is closed", async () => (await backends("berth status")).length === 0);
  });

  t.test("a leader without its database stops before another one can lead, and one leads again when it is back", async (t) => {
    const postgres = await server.database();
    const first = openMember(t, postgres, "a");
    const term = await first.acquire(NEVER);
    const from = clock.monotonic();
    await server.stop("SIGKILL");
    await endOf(term);
    t.ok(since(from) < LEASE_MS, `${since(from)} ms`);
    t.throws(() => term.check(), { code: "CONTROL_STANDBY" });
    const next = first.acquire(NEVER);
    await eventually("the reason to be known", () => first.lastLeader().problem?.includes("cannot be used"));
    await server.start();
    t.equal((await next).epoch, 2);
    t.equal(first.lastLeader().problem, undefined);
  });

  t.test("a leader that was stopped beyond its lease writes nothing, and knows by its clock that it may not act", async (t) => {
    const postgres = await server.database();
    let offset = 0;
    // A process that is stopped misses its timers; its monotonic clock goes on.
    const stopped = {
      ...clock,
      monotonic: () => clock.monotonic() + offset,
      after: (ms: number, task: () => void) => clock.after(ms + 60_000, task),
    };
    const [first, second] = [openMember(t, postgres, "a", stopped), openMember(t, postgres, "b")];
    // Opened before, and its queries compiled: that may take longer than a lease, which is not renewed.
    let term: LeaderTerm | undefined;
    const store = await openStore({ folder: tempFolder(t), clock, postgres, fence: () => term?.fence });
    t.teardown(() => store.close());
    await store.audit.list({ limit: 1 });
    term = await first.acquire(NEVER);
    const write = (at: number) => store.audit.append({ ...ENTRY, at }, 0);
    await write(1);
    const next = await second.acquire(NEVER);
    t.equal(next.epoch, 2);
    await t.rejects(write(2), { code: "CONTROL_STANDBY" });
    await t.rejects(
      store.transaction(async () => write(3)),
      { code: "CONTROL_STANDBY" },
    );
    t.equal((await store.audit.list({ limit: 10 })).length, 1);
    offset = LEASE_MS;
    t.throws(() => term?.check(), { code: "CONTROL_STANDBY" });
  });

  t.test("the next leader waits for a transaction of the old one, and no longer than half a lease for one that stands still", async (t) => {
    const postgres = await server.database();
    const frozen = { ...clock, after: (ms: number, task: () => void) => clock.after(ms + 60_000, task) };
    const [first, second] = [openMember(t, postgres, "a", frozen), openMember(t, postgres, "b")];
    // Opened before, and its queries compiled: that may take longer than a lease, which is not renewed.
    let term: LeaderTerm | undefined;
    const store = await openStore({ folder: tempFolder(t), clock, postgres, fence: () => term?.fence });
    t.teardown(() => store.close());
    await store.audit.list({ limit: 1 });
    term = await first.acquire(NEVER);
    const resume = Promise.withResolvers<void>();
    const writing = store.transaction(async () => {
      await store.audit.append({ ...ENTRY, at: 1 }, 0);
      await resume.promise;
    });
    const from = clock.monotonic();
    await second.acquire(NEVER);
    t.ok(since(from) < 3 * LEASE_MS, `${since(from)} ms`);
    resume.resolve();
    await t.rejects(writing, "its transaction was ended");
    t.equal((await store.audit.list({ limit: 10 })).length, 0);
  });
});

const ENTRY = {
  action: "test",
  target: undefined,
  login: undefined,
  userId: undefined,
  via: undefined,
  address: undefined,
  requestId: undefined,
  status: undefined,
};
