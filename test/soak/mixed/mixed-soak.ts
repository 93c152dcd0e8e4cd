import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeCertificate } from "../../fixtures/certificates.ts";
import { numbers } from "../../fuzz/numbers.ts";
import { grown, inWords } from "../growth.ts";
import { describeSockets } from "../open-objects.ts";
import { recordFailure } from "../script.ts";
import { idOf, openSoakWorld, type SoakSnapshot, type SoakWorld } from "../world.ts";
import { SOAK_ACTS, type SoakAct, type SoakContainers } from "./acts.ts";
import { HTTP2_ACTS } from "./http2-acts.ts";
import { openClientSession } from "./client-session.ts";
import { openAgent, WrongResponse, type SoakTarget } from "./ordinary-clients.ts";

type MixedResult = { counts: Record<string, Record<string, number>>; failures: string[]; before: SoakSnapshot; after: SoakSnapshot; grown: string[] };

/** Longer than anything here takes, even on a busy machine. */
const MOST_MS = 60_000;

type MixedOptions = {
  world: SoakWorld;
  secured: boolean;
  /** Clients speak HTTP/2, over TLS. */ http2: boolean;
  ms: number;
  warmUpMs: number;
  seed: number;
  /** At once. */ clients: number;
};

const CONTAINERS: SoakContainers = { steady: Array.from({ length: 8 }, (_, at) => idOf(200 + at)), hasty: idOf(220), napping: idOf(221) };
/** The container that sleeps. */
const NAPS = { id: CONTAINERS.napping, awakeMs: 700, asleepMs: 150 };
const LONGEST_WARM_UP_MS = 60_000;

/** Opens a gateway with containers, plays, and says in words what happened and what was wrong. */
export async function playMixedSoak({
  clients = 48,
  http2 = false,
  secured = http2,
  ms,
  seed,
}: Pick<MixedOptions, "ms" | "seed"> & Partial<Pick<MixedOptions, "clients" | "secured" | "http2">>): Promise<{ lines: string[]; faults: string[] }> {
  const folder = mkdtempSync(join(tmpdir(), "berth-soak-"));
  const tls = secured ? makeCertificate(folder, "edge") : undefined;
  rmSync(folder, { recursive: true });
  const awake = (at: number, port: number) => ({ kind: "awake", addresses: [{ host: `127.0.1.${at + 1}`, port }] }) as const;
  const world = await openSoakWorld(join(import.meta.dirname, "container.ts"), ({ port = 0, hastyPort = 0 }) => ({
    views: {
      ...Object.fromEntries(CONTAINERS.steady.map((id, at) => [id, awake(at, port)])),
      [CONTAINERS.hasty]: awake(20, hastyPort),
      [CONTAINERS.napping]: awake(21, port),
    },
    tls,
    http2,
    napping: NAPS,
  }));
  try {
    const { counts, failures, before, after, grown } = await playMixed({
      world,
      secured,
      http2,
      clients,
      ms,
      warmUpMs: Math.min(LONGEST_WARM_UP_MS, ms / 2),
      seed,
    });
    const lines = Object.entries(counts).map(
      ([name, outcomes]) =>
        `  ${name}: ${Object.entries(outcomes)
          .map(([outcome, count]) => `${count} ${outcome}`)
          .join(", ")}`,
    );
    return { lines: [...lines, `  before: ${inWords(before)}`, `  after:  ${inWords(after)}`], faults: [...grown, ...failures.slice(0, 20)] };
  } finally {
    world.close();
  }
}

/** Plays random clients against a gateway, and compares what it holds before and after; each response must belong to its request. */
async function playMixed({ world, secured, http2, clients, ms, warmUpMs, seed }: MixedOptions): Promise<MixedResult> {
  const counts: MixedResult["counts"] = {};
  const failures: string[] = [];
  let described: Promise<unknown> = Promise.resolve();
  /** What is open on all sides. One after another: two reports would mix their messages. */
  const describe = () => {
    const next = described.then(async () => ["Clients:", ...(await describeSockets()), ...(await world.describeOpen())].join("\n    "));
    described = next.catch(() => undefined);
    return next;
  };
  const exchangeOf = (id: string) => {
    const next = described.then(async () => `; gateway: ${(await world.describeExchange(id)).join(" | ")}`);
    described = next.catch(() => undefined);
    return next;
  };
  const play = async (part: string, forMs: number) => {
    const agent = openAgent(secured);
    const shared = { port: world.port, secured, agent, pathOf: (id: string) => `/api/docker/containers/proxy/${id}` };
    const until = performance.now() + forMs;
    const client = async (_: unknown, nth: number) => {
      const random = numbers(seed + nth);
      const session = http2 ? openClientSession(world.port) : undefined;
      const target: SoakTarget = { ...shared, ...(session && { http2: session }) };
      for (let turn = 0; performance.now() < until && failures.length < 20; turn++) {
        const act = chosen(http2 ? HTTP2_ACTS : SOAK_ACTS, random);
        const { outcome, answer = "", id } = await outcomeOf(act, target, random, `${part}-${nth}-${turn}`, describe);
        const ofAct = (counts[act.name] ??= {});
        ofAct[outcome] = (ofAct[outcome] ?? 0) + 1;
        if ((act.may as readonly string[]).includes(outcome)) continue;
        const at = recordFailure(failures, `${act.name} (seed ${seed}, ${part}-${nth}-${turn}): ${outcome} ${answer}`);
        if (id !== undefined) failures[at] += await exchangeOf(id).catch((error: unknown) => `; no report of the gateway: ${String(error)}`);
      }
      session?.leave();
    };
    await Promise.all(Array.from({ length: clients }, client));
    await described;
    agent.destroy();
  };
  await play("warm", warmUpMs);
  const before = await world.settled();
  await play("soak", ms);
  const after = await world.settled();
  return { counts, failures, before, after, grown: grown(before, after) };
}

function chosen(acts: readonly SoakAct[], random: (below: number) => number): SoakAct {
  let at = random(acts.reduce((sum, { weight }) => sum + weight, 0));
  for (const act of acts) if ((at -= act.weight) < 0) return act;
  throw new Error("No act has so much weight");
}

/** `answer`: see `CheckedResponse`. */
type PlayedOutcome = { outcome: string; answer?: string; id?: string };

/** The outcome of an act, or what was wrong, in words. */
async function outcomeOf(
  act: SoakAct,
  target: SoakTarget,
  random: (below: number) => number,
  id: string,
  describe: () => Promise<string>,
): Promise<PlayedOutcome> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<PlayedOutcome>((resolve, reject) => {
    const giveUp = () => void describe().then((answer) => resolve({ outcome: `no end within ${MOST_MS} ms`, answer }), reject);
    timer = setTimeout(giveUp, MOST_MS);
  });
  const played = act.play(target, CONTAINERS, random, id).catch((error: unknown): PlayedOutcome => {
    if (error instanceof WrongResponse) return { outcome: `WRONG: ${error.message}` };
    throw error;
  });
  const outcome = await Promise.race([played, late]);
  clearTimeout(timer);
  return outcome;
}
